# Sourced by scripts/engines: Apache Cassandra from jars. Node N is 127.0.0.N, all on the same ports.
# shellcheck shell=bash disable=SC2154 # root and the settings come from scripts/engines

# The ring's 3 x 4 tokens, evenly spread and written down, so that nodes may start at once without a quarrel over tokens.
readonly CASSANDRA_TOKEN_STEP=1537228672809129301

cassandra_address() { echo "127.0.0.$1:$ENGINES_CASSANDRA_PORT"; }
cassandra_ports() { printf '%s %s\n' "$(cassandra_address "$1")" "127.0.0.$1:$ENGINES_CASSANDRA_STORAGE_PORT"; }

cassandra_url() {
  local n hosts=
  for n in $(node_numbers); do hosts+=${hosts:+,}$(cassandra_address "$n"); done
  echo "reads='cassandra://$hosts'"
}

cassandra_install() { need_java; jars cassandra; }

cassandra_tokens() {
  local i tokens=
  for i in 0 1 2 3; do
    # Bash counts in 64 bits, as the ring does; the first token is the ring's least but one.
    tokens+=${tokens:+,}$((-9223372036854775807 + (i * 3 + $1 - 1) * CASSANDRA_TOKEN_STEP))
  done
  echo "$tokens"
}

cassandra_prepare() {
  local n=$1 dir=$2 i text seeds=
  for i in $(node_numbers); do seeds+=${seeds:+,}127.0.0.$i:$ENGINES_CASSANDRA_STORAGE_PORT; done
  text=$(<infra/cassandra/cassandra.yaml)
  text=${text//@TOKENS@/$(cassandra_tokens "$n")}
  # The nodes of a new ring have nothing to fetch from each other.
  text=${text//@BOOTSTRAP@/false}
  text=${text//@SEEDS@/$seeds}
  text=${text//@HOST@/127.0.0.$n}
  text=${text//@PORT@/$ENGINES_CASSANDRA_PORT}
  text=${text//@STORAGE_PORT@/$ENGINES_CASSANDRA_STORAGE_PORT}
  text=${text//@MEMTABLES@/$((NODES > 1 ? 96 : 160))MiB}
  printf '%s\n' "$text" >"$dir/cassandra.yaml"
}

# Becomes node N.
cassandra_exec() {
  local dir=$2 heap=768m lib more=()
  lib=$(cache cassandra)
  [ "$NODES" = 1 ] || heap=512m
  heap=${ENGINES_CASSANDRA_HEAP:-$heap}
  # Then changes of the schema, of which tests make hundreds, don't wait for its tables to be flushed.
  [ -z "${ENGINES_CASSANDRA_UNSAFE:-}" ] || more=(-Dcassandra.unsafesystem=true)
  # shellcheck disable=SC2086 # options, separated by spaces
  exec setsid "$JAVA" ${ENGINES_JAVA_OPTIONS:-} "-Xms$heap" "-Xmx$heap" "@$root/infra/cassandra/jvm.options" \
    "-javaagent:$lib/jamm-0.4.0.jar" "-Dparley.engine=$dir" "-Dcassandra.config=file://$dir/cassandra.yaml" \
    "-Dcassandra.storagedir=$dir/data" "-Dlogback.configurationFile=file://$root/infra/cassandra/logback.xml" \
    "${more[@]}" -Dcassandra.ring_delay_ms=100 -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra-foreground=yes \
    -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon
}

# Node N answers a query about its peers; with a second argument it knows so many nodes.
cassandra_answers() {
  local n=$1 wanted=${2:-1} bytes query='SELECT peer FROM system.peers_v2' size
  printf -v size '\\x%02x' "${#query}"
  # STARTUP {CQL_VERSION: 3.0.0}, answered by READY, and a QUERY at consistency ONE, without flags.
  read -ra bytes <<<"$(ask "127.0.0.$n" "$ENGINES_CASSANDRA_PORT" \
    "\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0" \
    "\x04\x00\x00\x01\x07\x00\x00\x00$(printf '\\x%02x' $((${#query} + 7)))\x00\x00\x00$size$query\x00\x01\x00")"
  # RESULT; the number of rows follows the names of keyspace, table and column, whose lengths are known.
  [ "${#bytes[@]}" -ge 51 ] && [ "${bytes[4]}" = 8 ] || return 1
  [ $((1 + $(int "${bytes[@]:47:4}"))) -ge "$wanted" ]
}
