#!/bin/bash
# build.sh [DIR]:   builds or fetches what the cluster needs and DIR lacks.
# build.sh --where: prints the DIR that is taken when none is given.
# build.sh --built: exit code 0 when that one lacks nothing.
# Progress goes to stderr, the DIR alone to stdout. Go's own caches hold the sources and the compiled packages; both
# may be deleted afterwards.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KUBE=v1.37.2
# Neither optimised nor with data for debuggers: that takes a quarter off the compile time, and tests do not mind.
GCFLAGS='all=-N -l -dwarf=false'
# Without cgo no C compiler is needed, the binaries are static, and the standard library is compiled once.
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-trimpath -buildvcs=false'

say() { echo "build.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# Named by everything that decides what the binaries are, so that another version gets another folder.
default_dir() {
  local key
  key=$({ cat "$HERE"/{kubernetes,containerd}/go.{mod,sum} "$HERE/kubernetes/main.go"; go version; echo "$GCFLAGS"; } | sha256sum)
  echo "${XDG_CACHE_HOME:-$HOME/.cache}/devmgr/cluster/${key:0:16}"
}

# gobuild NAME MODULE PACKAGE [ARG...]: under another name first: half a binary must not be taken for one.
gobuild() {
  local name=$1 module=$2 package=$3 start=$SECONDS; shift 3
  [ -x "$BIN/$name" ] && return
  say "$name: building"
  (cd "$HERE/$module" && nice -n 10 go build -gcflags="$GCFLAGS" "$@" -o "$BIN/.$name" "$package") || die "$name: build failed"
  mv "$BIN/.$name" "$BIN/$name"
  say "$name: $((SECONDS - start)) s, $(($(stat -c %s "$BIN/$name") / 1000000)) MB"
}

# debian NAME PACKAGE FILE: takes one file out of a package and installs nothing.
debian() {
  local name=$1 package=$2 file=$3 tmp
  [ -x "$BIN/$name" ] && return
  say "$name: from the Debian package $package"
  tmp=$(mktemp -d)
  (cd "$tmp" && { apt-get download -q "$package" || { apt-get update -q && apt-get download -q "$package"; }; } && dpkg-deb -x ./*.deb .) >"$tmp/log" 2>&1 ||
    { cat "$tmp/log" >&2; rm -rf "$tmp"; die "$name: cannot get the package $package"; }
  install -m 755 "$tmp/$file" "$BIN/$name"
  rm -rf "$tmp"
}

# image NAME CONFIG: BIN/NAME.tar, an image for `ctr images import` that holds busybox under all its names.
image() {
  local name=$1 config=$2 tmp
  [ -f "$BIN/$name.tar" ] && return
  say "$name.tar: image localhost/$name:1"
  tmp=$(mktemp -d)
  mkdir -p "$tmp"/root/{bin,etc,tmp,dev,proc,sys}
  cp "$BIN/busybox" "$tmp/root/bin/"
  (cd "$tmp/root/bin" && ./busybox --list | grep -vx busybox | xargs -n 1 ln -s busybox)
  tar -C "$tmp/root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$tmp/layer.tar" .
  printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(go env GOARCH)" "$config" "$(sha256sum <"$tmp/layer.tar" | cut -d' ' -f1)" >"$tmp/config.json"
  printf '[{"Config":"config.json","RepoTags":["localhost/%s:1"],"Layers":["layer.tar"]}]' "$name" >"$tmp/manifest.json"
  tar -C "$tmp" -cf "$BIN/.$name.tar" config.json layer.tar manifest.json
  mv "$BIN/.$name.tar" "$BIN/$name.tar"
  rm -rf "$tmp"
}

build_all() {
  local v=k8s.io/component-base/version p
  mkdir -p "$BIN"
  # The version is only known to the linker; without it nodes report v0.0.0.
  gobuild kubernetes kubernetes . -ldflags "-s -w -X $v.gitVersion=$KUBE -X $v.gitMajor=1 -X $v.gitMinor=37 -X $v.gitTreeState=clean"
  for p in etcd kube-apiserver kube-scheduler kube-controller-manager kubelet kubectl; do ln -sf kubernetes "$BIN/$p"; done
  for p in containerd ctr; do
    gobuild $p containerd github.com/containerd/containerd/v2/cmd/$p -ldflags '-s -w' -tags no_btrfs,no_zfs,no_devmapper,urfave_cli_no_docs
  done
  gobuild containerd-shim-runc-v2 containerd github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 -ldflags '-s -w' -tags no_grpc,urfave_cli_no_docs
  # Kubelets ask for a seccomp profile for every sandbox, so runc needs seccomp. Debian's has it.
  debian runc runc usr/sbin/runc
  debian busybox busybox-static bin/busybox
  image busybox '"Cmd":["sh"]'
  # All that a sandbox has to do is to be there until it is told to end.
  image pause '"Entrypoint":["/bin/sh","-c","trap \"exit 0\" TERM INT; sleep 2147483647 & wait"]'
}

built() {
  local name
  for name in kubernetes containerd ctr containerd-shim-runc-v2 runc busybox busybox.tar pause.tar; do
    [ -e "$1/$name" ] || return 1
  done
}

case ${1-} in
  --where) default_dir; exit ;;
  --built) built "$(default_dir)"; exit ;;
  -*) die "usage: build.sh [DIR | --where | --built]" ;;
esac
command -v go >/dev/null || die "go is not in PATH"
BIN=${1:-$(default_dir)}
case $BIN in /*) ;; *) BIN=$PWD/$BIN ;; esac
build_all
echo "$BIN"
