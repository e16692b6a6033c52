#!/usr/bin/env bash
# Runs a command against a real NDIF server, CPU only, that lives just as long as the command:
#
#     bash tests/ndif/run.sh COMMAND [ARG...]
#
# The server (Redis, an S3 store, Ray with NDIF's controller and one actor per model, NDIF's API) and the command share
# a network namespace that has nothing but the loopback, so nothing listens to the outside and no port is ever taken,
# and a process namespace, whose end is the end of every process in it. The command finds
#     NNVALUE_NDIF_TRUSTED     the API whose requests run in the model's own process
#     NNVALUE_NDIF_SANDBOXED   the API whose requests run in NDIF's sandbox, as the public service's do
# Exit status: the command's; 75 if the server does not start; 77 if this machine cannot run it.
#
# Settings: NNVALUE_NDIF_ENV     the server's environment, made if it is not there (default: .ndif-env)
#           NNVALUE_NDIF_MODELS  JSON object, served name -> absolute folder (default: the organism as nnvalue/organism)
#           NNVALUE_NDIF_KEEP    1 keeps the server's logs
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
torch=torch==2.13.0
ndif=ndif==0.1.2

say() { echo "ndif: $*" >&2; }
skip() {
  say "$*"
  exit 77
}

# --- outside the namespaces -------------------------------------------------------------------------------------------

check_prerequisites() {
  local program
  for program in redis-server unshare setpriv ip python3; do
    command -v "$program" >/dev/null || skip "$program is not installed."
  done
  # --pdeathsig and --kill-child: should this script be killed, the namespaces' first process is too.
  isolate=(setpriv --pdeathsig KILL unshare --net --pid --fork --mount-proc --kill-child)
  "${isolate[@]}" true 2>/dev/null && return
  isolate+=(--map-root-user)
  "${isolate[@]}" true 2>/dev/null || skip "unshare makes no namespaces here, neither as this user nor mapped to root."
}

# The copy of the requirements is the last thing to arrive: without it, or with another one, the environment is remade.
make_environment() {
  cmp -s "$here/requirements.txt" "$NNVALUE_NDIF_ENV/requirements.txt" && return
  if [[ -e $NNVALUE_NDIF_ENV && ! -e $NNVALUE_NDIF_ENV/pyvenv.cfg ]]; then
    say "$NNVALUE_NDIF_ENV is something other than a virtual environment; NNVALUE_NDIF_ENV must name one or be free."
    return 1
  fi
  say "making the server's environment in $NNVALUE_NDIF_ENV (about 2 GB)"
  local pip=("$NNVALUE_NDIF_ENV/bin/python" -m pip --disable-pip-version-check install --quiet)
  python3 -m venv --clear "$NNVALUE_NDIF_ENV" &&
    "${pip[@]}" "$torch" &&
    "${pip[@]}" -r "$here/requirements.txt" &&
    "${pip[@]}" --no-deps --ignore-requires-python "$ndif" || exit 75
  cp "$here/requirements.txt" "$NNVALUE_NDIF_ENV/requirements.txt"
}

# However this script ends: first the namespaces, then what was written in them. Their first process is the one to kill,
# because the kernel lets it go, and unshare return, only when all the others are gone.
finish() {
  local status=$? first=
  trap '' INT TERM HUP
  if [[ -n $namespaces ]] && kill -0 "$namespaces" 2>/dev/null; then
    read -r first _ <"/proc/$namespaces/task/$namespaces/children" || true
    kill -KILL "${first:-$namespaces}" 2>/dev/null || true
    wait "$namespaces" 2>/dev/null || true
  fi
  if [[ ${NNVALUE_NDIF_KEEP:-} == 1 ]]; then
    say "the logs are in $state"
  else
    rm -rf "$state"
  fi
  exit "$status"
}

outside() {
  (($#)) || { say "usage: run.sh COMMAND [ARG...]"; exit 2; }
  check_prerequisites
  NNVALUE_NDIF_ENV=$(realpath -m "${NNVALUE_NDIF_ENV:-$repository/.ndif-env}")
  make_environment

  state=$(mktemp -d /tmp/ndif.XXXXXX) # short: Ray makes sockets deep below it, and their paths may have 107 bytes
  namespaces=
  trap finish EXIT
  # The command gets Ctrl-C from the terminal as well and may end in its own way; the second Ctrl-C ends everything.
  trap 'trap "exit 130" INT' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP

  # In the background, because bash answers a signal only when what runs in the foreground is over. That takes from it
  # the terminal's input and Ctrl-C, and both are given back.
  env --default-signal=INT,QUIT "${isolate[@]}" \
    bash "${BASH_SOURCE[0]}" --inside "$state" "$NNVALUE_NDIF_ENV" "$@" <&0 &
  namespaces=$!
  local status=0
  while kill -0 "$namespaces" 2>/dev/null; do
    status=0
    wait "$namespaces" || status=$?
  done
  exit "$status"
}

# --- inside -----------------------------------------------------------------------------------------------------------

# start NAME COMMAND [ARG...]: in the background, in the server's own clean environment, with a log of its own.
start() {
  local name=$1
  shift
  "${server[@]}" "$@" </dev/null >"$state/$name.log" 2>&1 &
  started[$name]=$!
}

fail() {
  say "the server did not start: $* (NNVALUE_NDIF_KEEP=1 keeps the logs)"
  local log
  for log in $(ls -tr "$state"/*.log); do # what failed has written last
    say "--- the end of $(basename "$log")"
    tail -n 25 "$log" >&2
  done
  exit 75
}

# until_true SECONDS COMMAND [ARG...]: waits, and gives up early when a process that should run for good has ended.
until_true() {
  local deadline=$((SECONDS + $1)) name
  shift
  until "$@" >/dev/null 2>&1; do
    for name in "${!started[@]}"; do
      kill -0 "${started[$name]}" 2>/dev/null || fail "$name has ended"
    done
    ((SECONDS < deadline)) || fail "no success of: $*"
    sleep 0.2
  done
}

listens() { : <>"/dev/tcp/127.0.0.1/$1"; }
answers() { "$environment/bin/python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' "$1"; }

# inside STATE ENVIRONMENT COMMAND [ARG...]
inside() {
  state=$1
  environment=$2
  shift 2
  trap 'exit 130' INT # the namespaces' first process must ask for a signal to get it
  declare -gA started=()
  local models=${NNVALUE_NDIF_MODELS:-"{\"nnvalue/organism\": \"$repository/nnvalue/organism/model\"}"}
  local ray_port=6385 redis_port=6379 store_port=9000 trusted_port=8401 sandboxed_port=8402

  server=(
    env -i PATH="$environment/bin:$PATH" HOME="$state" TMPDIR="$state" LANG=C.UTF-8
    PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
    NNVALUE_NDIF_MODELS="$models"
    HF_HUB_OFFLINE=1
    NDIF_REDIS_URL="redis://127.0.0.1:$redis_port"
    NDIF_RAY_ADDRESS=ray://127.0.0.1:10001
    NDIF_OBJECT_STORE_URL="http://127.0.0.1:$store_port"
    NDIF_SANDBOX_POOL_SIZE=1 # a runner that waits costs half a gigabyte; one that starts costs a core
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # lets Ray keep the loopback's address
    RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
    RAY_USAGE_STATS_ENABLED=0
    RAY_enable_worker_prestart=0
    GRPC_ENABLE_FORK_SUPPORT=0 # NDIF's own services/ray/start.sh says why
  )

  cd "$state"
  ip link set lo up
  start redis redis-server --bind 127.0.0.1 --port "$redis_port" --save '' --dir "$state"
  start store moto_server -H 127.0.0.1 -p "$store_port"
  # One GPU that does not exist, because NDIF places models on nothing else; CPUs enough for the controller and models.
  start ray ray start --head --block --node-ip-address=127.0.0.1 --port="$ray_port" --temp-dir="$state/ray" \
    --num-cpus=8 --num-gpus=1 --resources='{"head": 10, "cuda_memory_bytes": 8e9, "cpu_memory_bytes": 8e9}' \
    --object-store-memory=200000000 --include-dashboard=true --dashboard-host=127.0.0.1 \
    --disable-usage-stats --log-color=false
  until_true 60 listens "$redis_port"
  until_true 60 listens "$store_port"
  until_true 120 listens 10001
  "${server[@]}" RAY_ADDRESS="127.0.0.1:$ray_port" timeout --foreground 120 \
    python -m ndif.services.ray.deployments.controller.controller >"$state/controller.log" 2>&1 || fail "no controller"
  start trusted gunicorn --config python:ndif.services.api.gunicorn_conf --bind "127.0.0.1:$trusted_port" \
    ndif.services.api.app:app
  start sandboxed uvicorn api_sandboxed:app --host 127.0.0.1 --port "$sandboxed_port"
  "${server[@]}" timeout --foreground 300 python "$here/deploy.py" >"$state/deploy.log" 2>&1 ||
    fail "a model is not ready"
  until_true 120 answers "http://127.0.0.1:$trusted_port/connected"
  until_true 120 answers "http://127.0.0.1:$sandboxed_port/connected"
  say "ready after $SECONDS s"

  cd "$caller"
  trap : INT # what the command makes of Ctrl-C is the answer
  export NNVALUE_NDIF_TRUSTED=http://127.0.0.1:$trusted_port NNVALUE_NDIF_SANDBOXED=http://127.0.0.1:$sandboxed_port
  "$@"
}

caller=$PWD
if [[ ${1:-} == --inside ]]; then
  shift
  inside "$@"
else
  outside "$@"
fi
