#!/bin/bash
# Ends what up.sh started and removes DIR:  down.sh DIR
D=$(realpath "$1"); export SLURM_CONF=$D/slurm.conf
timeout 5 scancel -u "$(id -un)" 2>/dev/null
sleep 0.5
for f in "$D"/run/slurmd-*.pid "$D/run/slurmctld.pid" "$D/run/slurmdbd.pid" "$D/db/m.pid" "$D/run/munged.pid"; do [ -f "$f" ] && kill "$(cat "$f")" 2>/dev/null; done
sleep 1
for n in "$D"/spool/*; do
  n=$(basename "$n")
  ip netns pids "$n" | xargs -r kill -9  # a process that stays would keep the network, and the next cluster could not have its names
  ip netns del "$n"; ip link del "v${n#n}" 2>/dev/null
done
ip link del brslurm
cp "$D/hosts.before" /etc/hosts
rm -rf "$D"
