#!/bin/bash
# Two hosts on one machine, as network namespaces joined by a cable, and one job over both by ssh.
#
#   sudo benchmarks/two_hosts.sh [COMMAND...]
#
# Without COMMAND it trains a tiny model for five steps on one rank per host. Needs Debian's iproute2
# and openssh-server; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD
work=$(mktemp -d /tmp/nnclip-hosts.XXXXXX)
daemons=()
clean_up() {
    for number in "${daemons[@]}"; do kill "$number" 2>/dev/null || true; done
    for host in a b; do ip netns delete "nnclip-$host" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT

ssh-keygen -q -t ed25519 -N '' -f "$work/key"
ip netns add nnclip-a
ip netns add nnclip-b
ip link add eth-a netns nnclip-a type veth peer name eth-b netns nnclip-b
mkdir -p /run/sshd
for host in a b; do
    [ $host = a ] && address=10.77.0.1 || address=10.77.0.2
    inside=(ip netns exec "nnclip-$host")
    "${inside[@]}" ip address add "$address/24" dev "eth-$host"
    "${inside[@]}" ip link set "eth-$host" up
    "${inside[@]}" ip link set lo up
    # A name of its own, or Open MPI takes both for the same host and speaks through memory.
    "${inside[@]}" unshare --uts sh -c "hostname nnclip-$host; exec $(command -v sshd) -D \
        -h $work/key -o AuthorizedKeysFile=$work/key.pub -o StrictModes=no -o UsePAM=no \
        -o PidFile=none -o ListenAddress=$address -o PermitRootLogin=yes" &
    daemons+=($!)
    printf '%s slots=1\n' "$address" >> "$work/hosts"
done
cat > "$work/ssh" << END
#!/bin/sh
exec ssh -q -i $work/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "\$@"
END
chmod +x "$work/ssh"
sleep 1

if [ $# -eq 0 ]; then
    .venv/bin/python -m nnclip draw-pairs "$work/pairs" --count 64 --size 64 --languages en
    .venv/bin/python -m nnclip train-tokenizer "$work/pairs/pairs.csv" --column title \
        -o "$work/bpe.json" --vocab-size 600 --min-frequency 1
    set -- .venv/bin/python train.py --train-txt-path "$work/pairs/pairs.csv" --model tiny \
        --tokenizer "$work/bpe.json" -ag -b 8 -i 5 -wi 1 -m "$work/run" --log-interval 1
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ip netns exec nnclip-a unshare --uts sh -c 'hostname nnclip-a; exec "$@"' sh \
    .venv/bin/mpirun --hostfile "$work/hosts" -n 2 --map-by node --bind-to none --wdir "$home" \
    --prtemca plm_ssh_agent "$work/ssh" --prtemca prte_if_include 10.77.0.0/24 \
    --mca btl self,tcp --mca btl_tcp_if_include 10.77.0.0/24 \
    -x OMPI_ALLOW_RUN_AS_ROOT -x OMPI_ALLOW_RUN_AS_ROOT_CONFIRM "$@"
if [ -f "$work/run/log.jsonl" ]; then cat "$work/run/log.jsonl"; fi
