"""The guests' root file system: Debian 12 as its image for Google Cloud is, as far as it matters.

That image has no cloud-init: Google's guest agent runs the metadata's `startup-script` at every
boot, which `google-startup-scripts.service` here does too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from guest import apt_sources
from guest.tools import run
from scripts.bootstrap.places import cache_root, make_folder

PACKAGES = (
    "apt",
    "ca-certificates",
    "curl",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "libnss-systemd",
    "libpam-systemd",
    "locales",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
_STARTUP_SCRIPTS = """\
[Unit]
Description=Google Compute Engine Startup Scripts
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/google-startup-scripts
KillMode=process
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""
_STARTUP_SCRIPTS_PROGRAM = """\
#!/bin/sh
set -eu
script=$(mktemp)
trap 'rm -f "$script"' EXIT
address=http://metadata.google.internal/computeMetadata/v1/instance/attributes/startup-script
if ! curl --silent --fail --header 'Metadata-Flavor: Google' --output "$script" "$address"; then
    echo 'No startup scripts to run.'
    exit 0
fi
chmod 0700 "$script"
"$script" 2>&1 | while IFS= read -r line; do
    echo "startup-script: $line"
    echo "startup-script: $line" >/dev/console
done
"""
# systemd-nspawn lays a boot id of the guest's own over the kernel's, where sandboxed services don't
# see it: all of a real machine's see one.
_ONE_BOOT_ID = """\
[Unit]
Description=One boot id for all
DefaultDependencies=no
Before=sysinit.target systemd-journald.service

[Service]
Type=oneshot
ExecStart=-umount /proc/sys/kernel/random/boot_id
ExecStart=-umount /proc/sys/kernel/random/boot_id

[Install]
WantedBy=sysinit.target
"""
_FILES = {
    "etc/apt/sources.list.d/debian.sources": apt_sources.sources(apt_sources.PUBLIC),
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost\n169.254.169.254 metadata.google.internal metadata\n",
    "etc/locale.conf": "LANG=C.UTF-8\n",
    "etc/resolv.conf": "nameserver 169.254.169.254\n",
    "etc/systemd/system/google-startup-scripts.service": _STARTUP_SCRIPTS,
    "etc/systemd/system/one-boot-id.service": _ONE_BOOT_ID,
    "usr/local/sbin/google-startup-scripts": _STARTUP_SCRIPTS_PROGRAM,
    # What trusts the public authorities by a list of its own trusts the test's by the system's.
    "etc/systemd/system.conf.d/certificates.conf": (
        "[Manager]\nDefaultEnvironment="
        "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt "
        "PIP_CERT=/etc/ssl/certs/ca-certificates.crt "
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n"
    ),
}
# The network is this test's own doing, and the machine's daily chores are not its subject.
_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd.service")
_WANTED = {
    "google-startup-scripts.service": "multi-user.target",
    "one-boot-id.service": "sysinit.target",
}
_REMOVED = ("etc/apt/sources.list", "etc/fstab", "etc/machine-id")
_BUILD_SECONDS = 900


def folder() -> Path:
    """Return where everything of the guests that is worth keeping lies."""
    return make_folder(cache_root(os.environ) / "guests")


def image() -> Path:
    """Return the folder of the root file system, made when first asked for (about 40 s)."""
    recipe = "\n".join((apt_sources.SUITE, *PACKAGES, *_MASKED, *_REMOVED, repr(_FILES)))
    made = folder() / f"root-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if made.exists():
        return made
    partial = made.with_name(f"{made.name}.{os.getpid()}.new")
    sources = made.with_name(f"{partial.name}.sources")
    sources.write_text(apt_sources.sources(apt_sources.archives()))
    try:
        run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", "--format=directory"),
                f"--include={','.join(PACKAGES)}",
                *(apt_sources.SUITE, partial, sources),
            ],
            seconds=_BUILD_SECONDS,
        )
        _finish(partial)
        partial.rename(made)
    finally:
        sources.unlink()
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _finish(root: Path) -> None:
    for name in _REMOVED:
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / "etc/apt/sources.list.d")
    for name, content in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
    (root / "usr/local/sbin/google-startup-scripts").chmod(0o755)
    # Empty: the machine gets its identity at its first boot.
    (root / "etc/machine-id").touch()
    units = root / "etc/systemd/system"
    for name, target in _WANTED.items():
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / name).symlink_to(f"../{name}")
    for name in _MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")


def copy(target: Path, authority: str) -> Path:
    """Make `target` a root file system of one guest's own, which trusts `authority` (PEM)."""
    run(["cp", "--archive", "--reflink=auto", image(), target], seconds=300)
    certificate = target / "usr/local/share/ca-certificates/test.crt"
    certificate.parent.mkdir(parents=True, exist_ok=True)
    certificate.write_text(authority)
    run(["chroot", target, "update-ca-certificates"])
    return target
