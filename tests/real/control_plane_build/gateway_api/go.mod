// The Gateway API's resource definitions come with the module of its types. It is a module of its
// own so that its requirements don't move those that Kubernetes is released with.
module gateway-api-definitions

go 1.24.0

require sigs.k8s.io/gateway-api v1.3.0
