# Sourced by scripts/engines: Apache Kafka, each node a broker and a controller (KRaft), from jars.
# shellcheck shell=bash

# The ports of node N: clients at ENGINES_KAFKA_PORT + 2 (N - 1), the controllers' quorum one above.
kafka_port() { echo $((ENGINES_KAFKA_PORT + 2 * ($1 - 1))); }
kafka_controller_port() { echo $((ENGINES_KAFKA_PORT + 2 * ($1 - 1) + 1)); }
kafka_address() { echo "127.0.0.1:$(kafka_port "$1")"; }
kafka_ports() { printf '%s %s\n' "$(kafka_address "$1")" "127.0.0.1:$(kafka_controller_port "$1")"; }

kafka_url() {
  local n hosts=
  for n in $(node_numbers); do hosts+=${hosts:+,}$(kafka_address "$n"); done
  echo "log='kafka://$hosts'"
}

kafka_install() { need_java; jars kafka; }

# Writes the configuration, and formats the directory the first time.
kafka_prepare() {
  local n=$1 dir=$2 controllers='' initial='' i text format
  for i in $(node_numbers); do
    controllers+=${controllers:+,}127.0.0.1:$(kafka_controller_port "$i")
    initial+=${initial:+,}$i@127.0.0.1:$(kafka_controller_port "$i"):$(setting "KAFKA_DIRECTORY_$i")
  done
  text=$(<infra/kafka/server.properties)
  text=${text//@NODE@/$n}
  text=${text//@CONTROLLERS@/$controllers}
  text=${text//@PORT@/$(kafka_port "$n")}
  text=${text//@CONTROLLER_PORT@/$(kafka_controller_port "$n")}
  text=${text//@DATA@/$dir/data}
  text=${text//@REPLICAS@/$NODES}
  text=${text//@IN_SYNC@/$((NODES > 1 ? NODES - 1 : 1))}
  printf '%s\n' "$text" >"$dir/server.properties"
  [ -e "$dir/data/meta.properties" ] && return 0
  format=(--standalone)
  [ "$NODES" = 1 ] || format=(--initial-controllers "$initial")
  "$JAVA" -Xmx128m -cp "$(cache kafka)/*" kafka.tools.StorageTool format "${format[@]}" \
    -t "$(setting KAFKA_CLUSTER)" -c "$dir/server.properties" >"$dir/format.out" 2>&1 ||
    { tail -n 20 "$dir/format.out" >&2; return 1; }
}

# Becomes node N.
kafka_exec() {
  local dir=$2
  # shellcheck disable=SC2086 # options, separated by spaces
  exec setsid "$JAVA" ${ENGINES_JAVA_OPTIONS:-} "-Xmx${ENGINES_KAFKA_HEAP:-512m}" -XX:+ExitOnOutOfMemoryError "-Dparley.engine=$dir" \
    -Dorg.slf4j.simpleLogger.showDateTime=true "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS" \
    -cp "$(cache kafka)/*" kafka.Kafka "$dir/server.properties"
}

# Node N lists itself among the brokers; with a second argument it lists so many.
kafka_answers() {
  local n=$1 wanted=${2:-1} bytes count at i id found='' length
  # Metadata (3), version 5, of no topics: length, key, version, correlation, no client id, no topics, no creation.
  read -ra bytes <<<"$(ask 127.0.0.1 "$(kafka_port "$n")" \
    '\x00\x00\x00\x0f\x00\x03\x00\x05\x00\x00\x00\x01\xff\xff\x00\x00\x00\x00\x00')"
  # Length, correlation and throttle time, 4 bytes each; then the brokers: id, host, port, rack.
  [ "${#bytes[@]}" -gt 16 ] || return 1
  count=$(int "${bytes[@]:12:4}") at=16
  for ((i = 0; i < count; i++)); do
    id=$(int "${bytes[@]:at:4}")
    length=$(int "${bytes[@]:at+4:2}")
    [ "$id" != "$n" ] || found=1
    at=$((at + 4 + 2 + length + 4))
    length=$(int "${bytes[@]:at:2}")
    at=$((at + 2 + (length == 65535 ? 0 : length)))
  done
  [ -n "$found" ] && [ "$count" -ge "$wanted" ]
}
