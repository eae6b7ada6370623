// The etcd that .ci/test-servers builds. Debian's 3.4 is too old: it does not report its progress on
// request, and the API server then neither lists by watching nor watches from now on. Nothing of ours is Go.
module meshwright.dev/test-servers/etcd

go 1.24.0

tool go.etcd.io/etcd/server/v3

require go.etcd.io/etcd/server/v3 v3.6.8
