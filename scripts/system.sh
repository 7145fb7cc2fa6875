#!/bin/sh
# Installs the Debian packages that the tests and the picture generator use; asks sudo unless root.
# gcc makes the small libraries by which tests play a machine with a GPU.
# Pillow draws wrong glyphs, without a word, where libfribidi0 is missing.
set -eu
packages="fonts-noto-color-emoji libfribidi0 chromium gcc libc6-dev"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
