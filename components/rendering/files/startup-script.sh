#!/bin/sh
# Google's Debian images have no cloud-init: this installs it at the first boot, hands it the
# machine's user-data, and runs it in the same boot. On images that have it, nothing is done.
# It is run at every boot (google-startup-scripts.service), and does nothing once it was done.
#
# multi-user.target waits for this script, so that nothing here may wait for that target: neither
# the units of cloud-init (cloud-final comes after it) nor a unit of ours is waited for.
set -u

metadata=http://metadata.google.internal/computeMetadata/v1/instance
settings=/etc/cloud/cloud.cfg.d/99-llm-endpoint.cfg
# There from before the installation until the first boot's work is done: cloud-init's own
# services, which would begin in parallel at the boot after one that was cut off, leave it be.
unfinished=/etc/cloud/cloud-init.disabled
seed=/var/lib/cloud/seed/nocloud
log=/run/llm-endpoint-startup.log
# Two hours and more, after which nobody waits for the machine.
tries=480
pause_seconds=15

# One record on the console, as machine/status.py writes them: STATE MESSAGE [LINES OF A LOG].
report() {
	boot=$(cut -c 1-8 /proc/sys/kernel/random/boot_id)
	record=$(printf '{"stage": "packages", "state": "%s", "message": "%s", "time": "%s", "boot": "%s"' \
		"$1" "$2" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$boot")
	if [ $# -gt 2 ]; then
		record="$record, \"log\": [$3]"
	fi
	printf 'llm-endpoint: %s}\n' "$record" | tee -a /dev/console
}

# The end of the log as the elements of a JSON list: printable ASCII alone, at most 4 KB.
end_of_log() {
	tail -n 20 "$log" | cut -c 1-190 | LC_ALL=C tr -cd '\040-\176\n' |
		sed -e 's/[\\"]/\\&/g' -e 's/.*/"&"/' | paste -s -d , -
}

# A command that the network may fail: WORDS of the message, then the command.
try() {
	what=$1
	shift
	count=1
	while ! "$@" >>"$log" 2>&1; do
		if [ "$count" -ge "$tries" ]; then
			report failed "$what failed $tries times, and the machine stops; next: see whether it reaches the archives of its distribution, then run up, which starts it again" "$(end_of_log)"
			# The watchdog, which would stop it, is not there yet.
			systemctl --no-block poweroff
			exit 1
		fi
		report retrying "$what failed (try $count of $tries)" "$(end_of_log)"
		count=$((count + 1))
		sleep "$pause_seconds"
	done
}

apt() {
	DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
		apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}

# One thing that the metadata server knows: its PATH, the FILE to write.
fetch() {
	curl -sS --fail --noproxy '*' --max-time 60 -H 'Metadata-Flavor: Google' -o "$2" "$metadata/$1"
}

if command -v cloud-init >/dev/null && [ ! -e "$unfinished" ]; then
	exit 0
fi

: >"$log"
report running "installing cloud-init"

# cloud-init does what this machine's user-data asks for, and nothing else: Google's own agent has
# the network, the host keys, the host's name and the users.
mkdir -p "${settings%/*}" "$seed"
cat >"$settings" <<'END'
datasource_list: [NoCloud, None]
network: {config: disabled}
users: []
preserve_hostname: true
ssh_deletekeys: false
cloud_init_modules: [write-files, users-groups]
cloud_config_modules: [runcmd]
cloud_final_modules: [package-update-upgrade-install, scripts-user, final-message]
END
: >"$unfinished"

# An earlier boot may have been cut off in the middle of it.
dpkg --configure -a >>"$log" 2>&1 </dev/null
try "reading the package lists" apt update
try "installing cloud-init" apt install --no-install-recommends cloud-init
try "reading the machine's id" fetch id "$seed/id"
try "reading the user-data" fetch attributes/user-data "$seed/user-data"
printf 'instance-id: gce-%s\n' "$(cat "$seed/id")" >"$seed/meta-data"

# Modules that an earlier boot began are begun anew.
rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem
report running "running cloud-init"
# A module that has something to warn of fails its stage, and the next one has to run all the same.
for stage in "init --local" init "modules --mode=config" "modules --mode=final"; do
	# shellcheck disable=SC2086
	cloud-init $stage >>"$log" 2>&1 </dev/null || echo "cloud-init $stage ended with $?" >>"$log"
done

if ! systemctl --quiet is-active llm-endpoint.target; then
	report failed "cloud-init did not start the endpoint; next: see /var/log/cloud-init.log, then reset the machine" "$(end_of_log)"
	exit 1
fi
# What this boot began survives the next one: cloud-init finds the same machine, and rests.
rm -f "$unfinished"
