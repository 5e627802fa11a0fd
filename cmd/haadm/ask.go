package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// agree shows the plan of a change and asks whether to carry it out. Plan and
// question go to standard error: the result alone is on standard output.
func (p *program) agree(question string, plan ...string) error {
	for _, line := range plan {
		fmt.Fprintln(p.stderr, line)
	}
	if p.yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return &usageError{clear: true, message: "this changes something and there is no terminal to ask at: nothing was changed. Add --yes if you mean it."}
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was changed")
}

// next ends a change with the command to go on with.
func (p *program) next(what, command string) {
	if p.format != "json" {
		fmt.Fprintf(p.stderr, "%s: %s\n", what, command)
	}
}
