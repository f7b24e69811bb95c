#!/bin/sh
# Gives a third-party plugin the machine it looks for, and becomes it: place.sh KIND PROGRAM ARGS…
# To be run inside a private mount namespace, where what is mounted here shows to nobody else. All hardware is fake.
set -eu
kind=$1 program=$2
shift 2

mount -n -t tmpfs place /run
mkdir /run/cdi
touch /run/plugin
mount -n --bind "$program" /run/plugin # it may lie in what is covered below

# private_dev NAME MAJOR MINOR…: a /dev with a few usual nodes and these. Needs root.
private_dev() {
  mkdir /run/nodes
  mount -n -t tmpfs -o dev place /run/nodes
  set -- null 1 3 zero 1 5 random 1 8 urandom 1 9 "$@"
  while [ $# -gt 0 ]; do
    mkdir -p "$(dirname "/run/nodes/$1")"
    mknod -m 666 "/run/nodes/$1" c "$2" "$3"
    shift 3
  done
  mount -n --bind /run/nodes /dev
}

# cards SYS DEV: two graphics cards of Intel's, whose nodes are other names of /dev/null.
cards() {
  for i in 0 1; do
    card=$1/class/drm/card$i/device
    render=renderD$((128 + i))
    mkdir -p "$card/drm/card$i" "$card/drm/$render" "$2/dri"
    printf 0x8086 >"$card/vendor"
    printf %s "$i" >"$card/numa_node"
    ln -s /dev/null "$2/dri/card$i"
    ln -s /dev/null "$2/dri/$render"
  done
}

case $kind in
  plain) ;;
  tmp) # the plugin makes directories there
    mount -n -t tmpfs place /tmp
    ;;
  cards)
    cards /run/fake/sys /run/fake/dev
    ;;
  accelerators)
    for i in 0 1; do
      device=/run/fake/sys/class/accel/accel$i/device
      mkdir -p "$device" /run/fake/dev/accel
      printf 0x8086 >"$device/vendor"
      printf 0x7d1d >"$device/device"
      ln -s /dev/null "/run/fake/dev/accel/accel$i"
    done
    ;;
  sgx)
    private_dev sgx_enclave 10 125 sgx_provision 10 126
    ;;
  cards-in-sys)
    private_dev
    mkdir /run/sys
    cards /run/sys /run/nodes
    mkdir -p /run/sys/devices/virtual/mem/null /run/sys/dev/char
    ln -s ../../devices/virtual/mem/null /run/sys/dev/char/1:3
    mount -n --bind /run/sys /sys
    ;;
  rdma | rdma-without-registry) # a Mellanox card with its InfiniBand nodes, and the names of PCI ids that the plugin wants to know
    private_dev infiniband/rdma_cm 511 0 infiniband/umad0 511 1 infiniband/issm0 511 2 infiniband/uverbs0 511 3
    # Where it finds the directory it does not call Register.
    registry=/var/lib/kubelet/plugins_registry
    if [ "$kind" = rdma-without-registry ] && [ -d $registry ]; then rmdir $registry; fi
    address=0000:01:00.0
    card=/run/sys/devices/pci0000:01/$address
    mkdir -p "$card/infiniband/mlx5_0" /run/sys/bus/pci/devices /run/sys/bus/pci/drivers/mlx5_core \
      /run/sys/class/net /run/sys/class/infiniband/mlx5_0
    echo pci:v000015B3d00001017sv000015B3sd00000020bc02sc00i00 >"$card/modalias"
    echo 0x020000 >"$card/class"
    echo 0x15b3 >"$card/vendor"
    echo 0x1017 >"$card/device"
    echo 1 >"$card/numa_node"
    ln -s ../../../bus/pci/drivers/mlx5_core "$card/driver"
    ln -s "../../../devices/pci0000:01/$address" "/run/sys/bus/pci/devices/$address"
    for node in infiniband_mad/umad0 infiniband_mad/issm0 infiniband_verbs/uverbs0; do
      mkdir -p "/run/sys/class/$node"
      echo mlx5_0 >"/run/sys/class/$node/ibdev"
    done
    mount -n --bind /run/sys /sys
    printf '15b3  Mellanox Technologies\n\t1017  MT27800 Family [ConnectX-5]\nC 02  Network controller\n\t00  Ethernet controller\n' >/run/pci.ids
    export PCIDB_PATH=/run/pci.ids
    cat >/run/rdma.json <<'JSON'
{"periodicUpdateInterval": 5, "configList": [
  {"resourceName": "hca_a", "rdmaHcaMax": 3, "selectors": {"vendors": ["15b3"]}},
  {"resourceName": "hca_none", "resourcePrefix": "example.com", "rdmaHcaMax": 2, "selectors": {"vendors": ["ffff"]}}]}
JSON
    ;;
  *)
    echo "place.sh: there is no kind $kind" >&2
    exit 2
    ;;
esac
exec /run/plugin "$@"
