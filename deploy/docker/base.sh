#!/bin/sh
# Makes a base image without a registry: Debian 12 with its Python 3.11, by debootstrap, imported into Docker.
#   sudo deploy/docker/base.sh [IMAGE] [DIRECTORY]
# IMAGE is python:3.11-slim unless given: what the Dockerfiles start from. DIRECTORY keeps the tree (about 300 MB) for the
# next time. Needs root and debootstrap; DOCKER_HOST and DEBIAN_MIRROR count, if set.
set -eu

image=${1:-python:3.11-slim}
directory=${2:-}
if [ "$(id -u)" != 0 ]; then
    echo "error: debootstrap needs root: sudo $0 $*" >&2
    exit 1
fi
if ! command -v debootstrap > /dev/null; then
    echo "error: debootstrap is not installed: apt-get install debootstrap" >&2
    exit 1
fi

if [ -z "$directory" ]; then
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
fi
tree=$directory/bookworm
if [ ! -e "$tree/etc/debian_version" ] || [ -d "$tree/debootstrap" ]; then
    rm -rf "$tree"
    debootstrap --variant=minbase --include=ca-certificates,python3.11,python3-pip,python3-venv bookworm "$tree" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$directory/debootstrap.log" ||
        { tail -n 20 "$directory/debootstrap.log" >&2; exit 1; }
fi
tar -C "$tree" --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' --exclude=./proc/* \
    --exclude=./sys/* -c . | docker import --change 'CMD ["python3"]' - "$image"
