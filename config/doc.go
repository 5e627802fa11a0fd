// Package config turns HCL into typed, defaulted, validated values. It knows
// two files: the agent's (what differs from host to host, type Agent) and the
// cluster policy (what all hosts must agree on, type Policy).
//
// Both are described by one table each (agentSchema, policySchema), which drives
// decoding, defaults, the origin of each value and the "did you mean" of errors.
// Whatever is not in the table is refused: nothing is accepted that would be
// without effect. All problems of all files are reported at once, as an *Error
// that shows the source lines.
//
// The package reads files when told to and keeps nothing; it never looks at the
// network, the clock, the environment or the state of a cluster. Values are
// literals: no variables, functions or expressions.
package config
