// Package mutation shows that each rule of docs/safety.md, and those of restarts that
// wait for others, is guarded by a test: a table names for every rule one change of
// the code that leaves the rule out, and the test that must then fail. The changed file is a copy that the compiler is
// told to read instead (go test -overlay), so the product has no hooks for this.
//
// It owns no code of the product and runs nothing of it itself. make mutation runs
// the table; a quick test of this package holds that the table is complete and
// still fits the code.
package mutation
