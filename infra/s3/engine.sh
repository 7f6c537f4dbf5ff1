# Sourced by scripts/engines: an S3 server (versitygw) that keeps objects as files. One node.
# shellcheck shell=bash
readonly VERSITYGW=v1.8.0
readonly BUCKET=parley REGION=us-east-1
# Signed requests name the SHA-256 of their body: here of none.
readonly EMPTY_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

s3_address() { echo "127.0.0.1:$ENGINES_S3_PORT"; }
s3_ports() { s3_address; }

s3_url() {
  echo "media='s3://$BUCKET?endpoint=http://$(s3_address)&region=$REGION&path_style=true'"
  echo "AWS_ACCESS_KEY_ID='$(setting S3_ACCESS_KEY)'"
  echo "AWS_SECRET_ACCESS_KEY='$(setting S3_SECRET_KEY)'"
}

s3_install() {
  need curl curl
  local bin
  bin=$(cache s3)
  [ ! -x "$bin/versitygw" ] || return 0
  need_go
  say "building versitygw $VERSITYGW (the first time a minute)"
  GOBIN=$bin.new go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" >"$bin.out" 2>&1 ||
    { tail -n 20 "$bin.out" >&2; die "versitygw can't be built"; }
  mv "$bin.new" "$bin"
}

s3_prepare() { mkdir -p "$2/data" "$2/sidecar"; }

s3_exec() {
  # The secret goes by the environment, which other users can't see.
  ROOT_ACCESS_KEY=$(setting S3_ACCESS_KEY) ROOT_SECRET_KEY=$(setting S3_SECRET_KEY)
  export ROOT_ACCESS_KEY ROOT_SECRET_KEY
  exec setsid "$(cache s3)/versitygw" --port "$(s3_address)" --region "$REGION" --quiet \
    posix --sidecar "$2/sidecar" "$2/data"
}

# The bucket is there, or can be made: both are signed requests.
s3_answers() {
  local status verb
  for verb in HEAD PUT HEAD; do
    status=$(s3_bucket "$verb") || return 1
    [ "$verb/$status" != HEAD/200 ] || return 0
  done
  return 1
}

s3_bucket() {
  local ask=(-X "$1")
  [ "$1" != HEAD ] || ask=(-I)
  # The credentials go by standard input, not on the command line.
  printf 'user = "%s:%s"\n' "$(setting S3_ACCESS_KEY)" "$(setting S3_SECRET_KEY)" |
    curl -sS -o /dev/null -w '%{http_code}' --max-time 5 --config - --aws-sigv4 "aws:amz:$REGION:s3" \
      -H "x-amz-content-sha256: $EMPTY_SHA256" "${ask[@]}" "http://$(s3_address)/$BUCKET" 2>/dev/null
}
