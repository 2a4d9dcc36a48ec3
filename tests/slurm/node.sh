#!/bin/bash
# Starts slurmd of one node of up.sh:  node.sh DIR NAME   (`ip netns exec` would remount /sys, and slurmd 22.05 needs /sys/fs/cgroup)
export SLURM_CONF=$1/slurm.conf
exec nsenter --net="/run/netns/$2" unshare --uts bash -c "hostname $2; exec slurmd -N $2"
