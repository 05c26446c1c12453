"""How a command is started, fed, awaited and reported on."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from plugin_client import InBackground, Plugin, PluginFailure, StartPlugin, eventually


def test_one_end_of_line_is_taken_off_each_stream(plugin: Plugin):
    made = plugin.create({"create": r"printf 'a\n\n'; printf 'b\r\n' >&2"})
    assert made.outputs["stdout"] == "a\n"
    assert made.outputs["stderr"] == "b\r"


def test_large_output_comes_whole(plugin: Plugin):
    script = "seq 1 300000; seq 1 200000 >&2"
    made = plugin.create({"create": script, "logging": "none"})
    assert made.outputs["stdout"] == "\n".join(str(number) for number in range(1, 300001))
    assert made.outputs["stderr"] == "\n".join(str(number) for number in range(1, 200001))


def test_output_that_is_not_utf8_is_an_error_though_the_command_has_run(
    plugin: Plugin, tmp_path: Path
):
    failure = plugin.failure(rf"touch '{tmp_path}/ran'; printf 'a\377b'")
    assert failure.code == "INTERNAL"
    assert "UTF-8" in failure.text
    assert (tmp_path / "ran").exists()


def test_output_that_is_not_utf8_is_shown_with_replacements_in_a_failure(plugin: Plugin):
    assert plugin.failure(r"printf 'a\377b'; exit 1").text.endswith("\na\N{REPLACEMENT CHARACTER}b")


def test_a_command_sees_the_plugins_environment_and_nothing_more(
    plugin: Plugin, environment: dict[str, str]
):
    seen = dict(line.split("=", 1) for line in plugin.output("env").splitlines())
    for made_by_the_shell in ("PWD", "OLDPWD", "SHLVL", "_"):
        seen.pop(made_by_the_shell, None)
    assert seen == environment


def test_the_environment_is_added_to_and_replaced(plugin: Plugin):
    added = {"A": "1 'x' \n2", "LANG": "ö"}
    assert plugin.output('echo "$A|$LANG"', environment=added) == "1 'x' \n2|ö"


def test_an_equals_sign_in_a_name_ends_the_name(plugin: Plugin):
    assert plugin.output("echo $A", environment={"A=b": "c"}) == "b=c"


def test_the_folder_is_the_plugins_unless_dir_says_otherwise(
    plugin: Plugin, folder: Path, tmp_path: Path
):
    assert plugin.output("pwd") == str(folder)
    assert plugin.output("pwd", dir="") == str(folder)
    assert plugin.output("pwd", dir="..") == str(folder.parent)
    assert plugin.output("pwd", dir=str(tmp_path)) == str(tmp_path)


def test_standard_input_is_fed_or_empty(plugin: Plugin):
    assert plugin.output("cat") == ""
    assert plugin.output("cat", stdin="a\nö") == "a\nö"


def test_a_large_standard_input_need_not_be_read(plugin: Plugin):
    assert plugin.output("echo done", stdin="x" * 1_000_000) == "done"
    assert plugin.output("wc -c", stdin="x" * 1_000_000).strip() == "1000000"


def test_the_shell_is_sh_unless_an_interpreter_is_given(plugin: Plugin):
    assert plugin.output("echo $0") == "/bin/sh"
    assert plugin.output("echo $0", interpreter=[]) == "/bin/sh"
    assert plugin.output("ignored", interpreter=["echo", "-n", "a b"]) == "a b ignored"


def test_an_interpreter_with_a_slash_is_looked_for_from_dir(plugin: Plugin, tmp_path: Path):
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$0 $1"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    printed = plugin.output("a", interpreter=["./program"], dir=str(tmp_path))
    assert printed == "./program a"


def test_an_interpreter_without_a_slash_is_looked_for_on_the_plugins_path(
    plugin: Plugin, tmp_path: Path
):
    environment = {"PATH": str(tmp_path)}
    assert plugin.output("echo $PATH", interpreter=["sh", "-c"], environment=environment) == str(
        tmp_path
    )


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"dir": "/not/there"}, "chdir /not/there: no such file or directory"),
        ({"dir": "/etc/passwd"}, "fork/exec /bin/sh: not a directory"),
        ({"interpreter": ["/not/there"]}, "fork/exec /not/there: no such file or directory"),
        ({"interpreter": ["/etc/passwd"]}, "fork/exec /etc/passwd: permission denied"),
        ({"interpreter": ["/etc"]}, "fork/exec /etc: permission denied"),
        (
            {"interpreter": ["no-such-program"]},
            'exec: "no-such-program": executable file not found in $PATH',
        ),
        (
            {"interpreter": ["no-such-program"], "dir": "/not/there"},
            'exec: "no-such-program": executable file not found in $PATH',
        ),
        ({"interpreter": [""]}, "exec: no command"),
        ({"environment": {"A": "\0"}}, "exec: environment variable contains NUL"),
        ({"environment": {"A": "x" * 200_000}}, "fork/exec /bin/sh: argument list too long"),
    ],
)
def test_a_command_that_can_not_start_says_why(plugin: Plugin, inputs: dict, reason: str):
    failure = plugin.failure("echo hi", **inputs)
    assert failure.code == "UNKNOWN"
    assert failure.text == f'{reason}: running "echo hi":\n'


def test_a_zero_byte_in_a_command_is_an_error(plugin: Plugin):
    assert plugin.failure("a\0").text == (
        'fork/exec /bin/sh: invalid argument: running "a\\x00":\n'
    )


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGHUP, "hangup"),
        (signal.SIGKILL, "killed"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGUSR1, "user defined signal 1"),
        (signal.SIGXCPU, "CPU time limit exceeded"),
        (signal.SIGIO, "I/O possible"),
        (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_a_signal_is_named(plugin: Plugin, number: int, name: str):
    script = f"kill -{number:d} $$"
    assert plugin.failure(script).text == f'signal: {name}: running "{script}":\n'


def test_a_failure_quotes_the_command_with_escapes(plugin: Plugin):
    script = 'exit 1 # "q" \\ \t \x01 é \u200b \U0001f600 \U000e0001 \x7f\n\r\a\b\f\v'
    quoted = r"exit 1 # \"q\" \\ \t \x01 é \u200b " + "\U0001f600" + r" \U000e0001 \x7f\n\r\a\b\f\v"
    assert plugin.failure(script).text == f'exit status 1: running "{quoted}":\n'


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_failure_carries_all_that_was_printed(plugin: Plugin, stream: str):
    script = f"seq 1 20000 >/dev/{stream}; exit 7"
    failure = plugin.failure(script, logging="none")
    printed = "".join(f"{number}\n" for number in range(1, 20001))
    assert failure.text == f'exit status 7: running "{script}":\n{printed}'


def test_the_call_waits_until_the_pipes_close(plugin: Plugin):
    assert plugin.output("(sleep 0.3; echo late) & echo early") == "early\nlate"


def test_a_daemon_that_leaves_the_pipes_does_not_hold_up_the_call(plugin: Plugin):
    daemon = int(plugin.output("sleep 300 </dev/null >/dev/null 2>&1 & echo $!"))
    os.kill(daemon, signal.SIGKILL)


def test_a_command_runs_in_the_plugins_process_group(plugin: Plugin):
    """The engine ends a plugin by its group: what should outlive it needs its own session."""
    group = plugin.output("ps -o pgid= -p $$").strip()
    assert int(group) == plugin.process.pid


def test_a_time_limit_kills_the_command(plugin: Plugin):
    started = plugin.create({"create": "echo in time"}, limit_seconds=30)
    assert started.outputs["stdout"] == "in time"
    with pytest.raises(PluginFailure, match="signal: killed"):
        plugin.create({"create": "exec sleep 300"}, limit_seconds=1)


def test_commands_run_at_the_same_time(start_plugin: StartPlugin, tmp_path: Path):
    plugin = start_plugin()
    inputs = {
        "create": "touch at-$N; while ! [ -e go ]; do sleep 0.05; done; exit 9",
        "dir": str(tmp_path),
    }
    numbers = [str(number) for number in range(40)]
    calls = [
        InBackground(lambda n=number: plugin.create({**inputs, "environment": {"N": n}}))
        for number in numbers
    ]
    assert eventually(lambda: len(list(tmp_path.iterdir())) == len(calls))
    (tmp_path / "go").touch()
    assert {call.failure().text.partition(":")[0] for call in calls} == {"exit status 9"}
