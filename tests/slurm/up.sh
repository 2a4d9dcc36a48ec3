#!/bin/bash
# A real Slurm with NODES nodes on this machine, all of its state in DIR; needs root, apt packages: slurmctld slurmd slurm-client munge iproute2.
#   up.sh DIR [NODES] [CPUS]      then `. DIR/env`; down.sh DIR ends it. Environment: MAXARRAY (MaxArraySize), GPUS (fake GPUs a node).
# Every node has a network and a host name of its own (namespaces), so that torchrun's rendezvous works as between machines. No sacct: the
# accounting that sweeps must not rely on is off, unless DBD=1 (apt packages slurmdbd mariadb-server): then there is a real one, with the
# account `lab`, and jobs of other accounts are refused. /etc/hosts gets the nodes' names until down.sh.
set -euo pipefail
D=$(realpath -m "$1"); N=${2:-2}; C=${3:-2}; G=${GPUS:-0}
mkdir -p "$D"/{state,spool,log,run}; chmod 755 "$D" "$D/run"; export SLURM_CONF=$D/slurm.conf
dd if=/dev/urandom of="$D/run/munge.key" bs=1 count=1024 status=none; chmod 600 "$D/run/munge.key"
cp /etc/hosts "$D/hosts.before"
trap 'tail -n 5 "$D"/log/*.log >&2 || true; "$(dirname "$0")/down.sh" "$D"' ERR
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
ACCOUNTING="AccountingStorageType=accounting_storage/none"
[ "${DBD:-0}" = 1 ] && ACCOUNTING="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePass=$D/run/munge.sock
AccountingStorageEnforce=associations,qos"
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
$ACCOUNTING
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
if [ "${DBD:-0}" = 1 ]; then
  mkdir -p "$D/db"; chown mysql:mysql "$D/db"
  mariadb-install-db --no-defaults --user=mysql --datadir="$D/db" --auth-root-authentication-method=normal --skip-test-db > "$D/log/db.log" 2>&1
  setsid mariadbd --no-defaults --user=mysql --datadir="$D/db" --socket="$D/db/m.sock" --pid-file="$D/db/m.pid" --bind-address=127.0.0.1 \
    --port=13306 --skip-name-resolve --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 >> "$D/log/db.log" 2>&1 &
  SQL="mariadb --no-defaults -S $D/db/m.sock -u root"
  for _ in $(seq 600); do $SQL -e 'select 1' > /dev/null 2>&1 && break; sleep 0.1; done
  $SQL -e "create database slurm_acct_db; create user 'slurm'@'127.0.0.1' identified by 'x'; grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1'"
  printf '%s\n' AuthType=auth/munge "AuthInfo=socket=$D/run/munge.sock" DbdHost=localhost DbdAddr=127.0.0.1 SlurmUser=root \
    StorageType=accounting_storage/mysql StorageHost=127.0.0.1 StoragePort=13306 StorageUser=slurm StoragePass=x StorageLoc=slurm_acct_db \
    "LogFile=$D/log/slurmdbd.log" "PidFile=$D/run/slurmdbd.pid" > "$D/slurmdbd.conf"; chmod 600 "$D/slurmdbd.conf"
  slurmdbd
  for _ in $(seq 600); do timeout 3 sacctmgr -n show cluster > /dev/null 2>&1 && break; sleep 0.1; done
  timeout 60 sacctmgr -i add cluster toy > /dev/null
  timeout 60 sacctmgr -i add account lab > /dev/null
  timeout 60 sacctmgr -i add user "$(id -un)" account=lab > /dev/null
fi
slurmctld -i
for i in $(seq 1 "$N"); do "$(dirname "$0")/node.sh" "$D" "n$i"; done
for k in $(seq 300); do
  [ "$(timeout 3 sinfo -h -p debug -o '%T %D' 2>/dev/null)" = "idle $N" ] && break
  sleep 0.1
  [ "$k" = 300 ] && { tail -n 20 "$D"/log/*.log; exit 1; }
done
printf 'export SLURM_CONF=%s\n' "$SLURM_CONF" > "$D/env"
