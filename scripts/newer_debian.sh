#!/bin/sh
# Install RabbitMQ 4.3 and Redis 8 from Debian's next release into a directory, for tests/support/newer.py.
#
#   scripts/newer_debian.sh [DIRECTORY]     default: $NEWER_DEBIAN, else ~/.cache/flask-nightshift/debian-forky
#
# It needs root, debootstrap (it installs it if it is missing) and a Debian mirror: the one that apt uses here. A directory
# that is complete stays as it is; delete it to get newer packages.
set -eu
release=forky
root=${1:-${NEWER_DEBIAN:-${XDG_CACHE_HOME:-$HOME/.cache}/flask-nightshift/debian-$release}}
part=$root.part

fail() {
  echo "newer_debian.sh: $1" >&2
  exit 1
}

[ -e "$root/usr/bin/redis-server" ] && [ -e "$root/usr/lib/rabbitmq/bin/rabbitmq-server" ] && exit 0
[ "$(id -u)" = 0 ] || fail "run it as root: debootstrap makes devices and changes its root directory"
if ! command -v debootstrap >/dev/null; then
  apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null ||
    fail "debootstrap is missing and cannot be installed"
fi

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/$' || true)
log=$(mktemp)
echo "installing RabbitMQ and Redis from Debian $release into $root"
mkdir -p "$(dirname "$root")"
rm -rf "$part"
# without a mirror, debootstrap uses its own; sid's script serves a release that debootstrap does not know yet
debootstrap --variant=minbase $release "$part" ${mirror:+"$mirror" sid} >"$log" 2>&1 ||
  fail "debootstrap failed: $(tail -n 5 "$log")"
printf '#!/bin/sh\nexit 101\n' >"$part/usr/sbin/policy-rc.d" # start no service
chmod +x "$part/usr/sbin/policy-rc.d"
echo '127.0.0.1 localhost' >"$part/etc/hosts"
inside() {
  chroot "$part" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Check-Valid-Until=false "$@" >>"$log" 2>&1 ||
    fail "apt-get $1 failed: $(tail -n 5 "$log")"
}
inside update
inside install -y --no-install-recommends rabbitmq-server redis-server
rm -rf "$part"/var/cache/apt/archives/*.deb "$log"
rm -rf "$root"
mv "$part" "$root"
