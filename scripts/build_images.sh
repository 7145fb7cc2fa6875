#!/bin/sh
# Builds docker/Dockerfile and docker/Dockerfile.serve, and with "cuda" docker/Dockerfile.cuda too, on a
# machine without a Docker engine, then runs the first two and asks them for the page and for an answer.
# Needs root, buildah and debootstrap (apt-get install buildah debootstrap) and some 8 GB, with "cuda" 25;
# leaves nothing behind but the answer.
#
# Use: scripts/build_images.sh [cuda]
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d /var/tmp/nnclip-images.XXXXXX)
port=$(.venv/bin/python -c 'import socket as s; p = s.socket(); p.bind(("", 0)); print(p.getsockname()[1])')
server=
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs TMPDIR="$work"
buildah() { command buildah --root "$work/storage" --runroot "$work/run" "$@"; }

clean() {
    [ -z "$server" ] || kill -- "-$server" 2>/dev/null || true # it and all that it started
    sleep 2
    buildah rm -a >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

# What the official python:3.10-slim is: Debian and a Python 3.10 in /usr/local.
make_base() {
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Release: bookworm' |
        head -n 1)
    libraries=ca-certificates,libssl3,libffi8,libsqlite3-0,zlib1g,libbz2-1.0,liblzma5,libexpat1
    debootstrap --variant=minbase --include="$libraries" bookworm "$work/base" "$mirror" >"$work/log"
    python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
    cp -r "$python/bin" "$python/lib" "$work/base/usr/local/"
    rm -rf "$work/base/usr/local/lib/python3.10/site-packages" \
        "$work/base/usr/local/lib/python3.10/test" "$work/base/var/cache/apt/archives"
    ln -sf python3.10 "$work/base/usr/local/bin/python"
    chroot "$work/base" ldconfig
    chroot "$work/base" python -m ensurepip >/dev/null 2>&1
    base=$(buildah from scratch)
    buildah add -q "$base" "$work/base" / >/dev/null
    buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$base"
    buildah commit -q "$base" docker.io/library/python:3.10-slim >/dev/null
    buildah rm "$base" >/dev/null
    rm -rf "$work/base"
}

# $1: the Dockerfile, $2: the tag. The machine's own certificates and pip settings hold inside too.
build() {
    bundle=/etc/ssl/certs/ca-certificates.crt
    printf '[global]\ncert = %s\n' "$bundle" >"$work/pip.conf"
    buildah bud -q --format docker --pull-never --network host --volume "$bundle:$bundle:ro" \
        --volume "$work/pip.conf:/etc/pip.conf:ro" -f "$1" -t "$2" . >/dev/null
}

# Runs the image's own command with its own user, and prints what a visitor gets.
# $1: the tag, $2: the path that is asked for, $3: what the answer holds, $4: flags of `buildah run`,
# $5: flags of the command, $6: what runs in the container too while it answers.
try_image() {
    container=$(buildah from --pull-never "$1")
    words='{{range .Docker.Config.Entrypoint}}{{.}} {{end}}{{range .Docker.Config.Cmd}}{{.}} {{end}}'
    command=$(buildah inspect --type image --format "$words" "$1")
    # shellcheck disable=SC2086 # flags and commands are lists of words
    setsid buildah --root "$work/storage" --runroot "$work/run" run --network host ${4:-} \
        "$container" -- $command --port "$port" ${5:-} >"$work/said" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        curl -fsS -o "$work/answer" "http://127.0.0.1:$port$2" 2>/dev/null && break
        kill -0 "$server" 2>/dev/null || break
        sleep 1
    done
    cat "$work/said"
    grep -o "$3" "$work/answer"
    ${6:-true}
    echo "size: $(du -sh --apparent-size "$(buildah mount "$container")" | cut -f1)"
    kill -- "-$server" && server=
    wait || true
    buildah umount "$container" >/dev/null
}

# What clients and the engine ask of the server: embeddings, by a model of the volume, and the health.
ask_server() {
    for input in '"a dog"' "{\"image\": \"$(base64 -w0 assets/example.jpg)\"}"; do
        printf '{"model": "own", "input": [%s]}' "$input" >"$work/asked"
        curl -fsS -d "@$work/asked" "http://127.0.0.1:$port/v1/embeddings" >"$work/answer"
        grep -o '"object":"embedding","index":0,"embedding":\[-\?[0-9]' "$work/answer"
    done
    probe=$(sed -n 's/^    CMD \["python", "-c", "\(.*\)"\]$/\1/p' docker/Dockerfile.serve)
    buildah run --network host "$container" -- python -c "$(echo "$probe" | sed "s/8890/$port/")"
    echo "healthy"
}

hadolint=.venv/bin/hadolint
[ ! -x "$hadolint" ] || "$hadolint" docker/Dockerfile docker/Dockerfile.serve docker/Dockerfile.cuda
echo "making the base"
make_base
echo "building docker/Dockerfile"
build docker/Dockerfile nnclip
try_image nnclip / '"title": *"nnclip"'
echo "building docker/Dockerfile.serve"
build docker/Dockerfile.serve nnclip-serve
mkdir "$work/models"
cp assets/nnclip.h5 "$work/models/own.h5"
try_image nnclip-serve /ready '"status": *"ready"' "--volume $work/models:/models:ro" \
    "-m bundled -m /models/own.h5" ask_server
if [ "${1:-}" = cuda ]; then
    echo "building docker/Dockerfile.cuda"
    build docker/Dockerfile.cuda nnclip-train
    container=$(buildah from --pull-never nnclip-train)
    buildah run "$container" -- python train.py --help | head -n 3
    # where there is no GPU the doctor says so and ends with 1; all libraries must be found
    buildah run "$container" -- python -m nnclip doctor >"$work/doctor" || true
    cat "$work/doctor"
    grep -q "libcudnn.so.8  *8.9" "$work/doctor"
    grep -q "yes  several ranks" "$work/doctor"
    if grep "found neither" "$work/doctor"; then exit 1; fi
    echo "size: $(du -sh --apparent-size "$(buildah mount "$container")" | cut -f1)"
fi
