// The Consul that .ci/test-servers builds. Nothing of ours is Go.
module meshwright.dev/test-servers/consul

go 1.25.7

tool github.com/hashicorp/consul

require github.com/hashicorp/consul v1.22.5
