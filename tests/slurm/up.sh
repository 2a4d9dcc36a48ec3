#!/bin/bash
# A real Slurm with NODES nodes on this machine, all of its state in DIR; needs root, apt packages: slurmctld slurmd slurm-client munge iproute2.
#   up.sh DIR [NODES] [CPUS]      then `. DIR/env`; down.sh DIR ends it. Environment: MAXARRAY (MaxArraySize), GPUS (fake GPUs a node).
# Every node has a network and a host name of its own (namespaces), so that torchrun's rendezvous works as between machines. No sacct: the
# accounting that sweeps must not rely on is off. /etc/hosts gets the nodes' names until down.sh.
set -euo pipefail
D=$(realpath -m "$1"); N=${2:-2}; C=${3:-2}; G=${GPUS:-0}
mkdir -p "$D"/{state,spool,log,run}; chmod 755 "$D" "$D/run"; export SLURM_CONF=$D/slurm.conf
dd if=/dev/urandom of="$D/run/munge.key" bs=1 count=1024 status=none; chmod 600 "$D/run/munge.key"
cp /etc/hosts "$D/hosts.before"
trap 'tail -n 5 "$D"/log/*.log >&2; "$(dirname "$0")/down.sh" "$D"' ERR
ip link add brslurm type bridge; ip addr add 10.77.0.1/24 dev brslurm; ip link set brslurm up
NODES=""; GRES=""
[ "$G" -gt 0 ] && GRES="Gres=gpu:$G"
for i in $(seq 1 "$N"); do
  mkdir -p "$D/spool/n$i"; ip netns add "n$i"
  ip link add "v$i" type veth peer name eth0 netns "n$i"; ip link set "v$i" master brslurm up
  ip -n "n$i" addr add "10.77.0.$((10 + i))/24" dev eth0; ip -n "n$i" link set eth0 up; ip -n "n$i" link set lo up
  ip -n "n$i" route add default via 10.77.0.1
  echo "10.77.0.$((10 + i)) n$i" >> /etc/hosts
  NODES+="NodeName=n$i NodeAddr=10.77.0.$((10 + i)) CPUs=$C RealMemory=8000 $GRES State=UNKNOWN"$'\n'
done
if [ "$G" -gt 0 ]; then
  for k in $(seq 0 $((G - 1))); do mknod "$D/gpu$k" c 1 3; done
  echo "NodeName=n[1-$N] Name=gpu File=$D/gpu[0-$((G - 1))]" > "$D/gres.conf"
fi
cat > "$SLURM_CONF" <<CONF
ClusterName=toy
SlurmctldHost=$(hostname)(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$D/run/munge.sock,cred_expire=5
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
$([ "$G" -gt 0 ] && echo "GresTypes=gpu")
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MinJobAge=${MINJOBAGE:-300}
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=${NODETIMEOUT:-20}
MaxArraySize=${MAXARRAY:-1001}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
${NODES}PartitionName=debug Nodes=n[1-$N] Default=YES MaxTime=INFINITE State=UP PriorityTier=10 GraceTime=15
PartitionName=high Nodes=n[1-$N] MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
PartitionName=short Nodes=n[1-$N] MaxTime=10 State=UP PriorityTier=10
CONF
munged -S "$D/run/munge.sock" --key-file="$D/run/munge.key" --pid-file="$D/run/munged.pid" \
  --log-file="$D/run/munged.log" --seed-file="$D/run/munged.seed" --num-threads=10
slurmctld -i
for i in $(seq 1 "$N"); do "$(dirname "$0")/node.sh" "$D" "n$i"; done
for k in $(seq 300); do
  [ "$(timeout 3 sinfo -h -p debug -o '%T %D' 2>/dev/null)" = "idle $N" ] && break
  sleep 0.1
  [ "$k" = 300 ] && { tail -n 20 "$D"/log/*.log; exit 1; }
done
printf 'export SLURM_CONF=%s\n' "$SLURM_CONF" > "$D/env"
