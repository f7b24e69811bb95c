#!/bin/bash
# ready.sh: sees to it that the cluster can be started here: checks the machine and builds what is missing (some minutes
# and 5 GB of disk the first time). Exit code 3 with the reason when it cannot; under CI it builds nothing.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() {
  echo "cluster: SKIPPED: $*" >&2
  exit 3
}

reason=$("$HERE/cluster" check 2>&1) || skip "${reason#cluster: }"
command -v go >/dev/null || skip 'no Go here (https://go.dev/dl)'
if ! "$HERE/build.sh" --built; then
  [ -z "${CI:-}" ] || skip "its programs are not built: bash test/cluster/build.sh builds them"
  echo "cluster: building Kubernetes and containerd, some minutes" >&2
  "$HERE/build.sh" >/dev/null || skip 'its programs cannot be built, see above'
fi
