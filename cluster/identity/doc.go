// Package identity is who a host is and how it proves it: the cluster's
// certificate authority, host certificates, join tokens, the seal of secrets kept
// in the replicated state, and the TLS settings that follow from them.
//
// A cluster is one certificate authority, made at bootstrap. A host is a
// certificate of it with the cluster, the host's name and the machine in a SAN
// URI, holdfast://CLUSTER/host/NAME/MACHINE. No DNS name and no address takes
// part in a proof, so addresses may change and no resolver is needed.
//
// It opens no connection and decides nothing about membership: whether a host
// with a good certificate is still wanted is asked of the replicated state.
package identity
