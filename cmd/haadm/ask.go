package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// agree shows the plan of a change and asks whether to carry it out. Plan and
// question go to standard error: the result alone is on standard output.
func (p *program) agree(ctx context.Context, question string, plan ...string) error {
	for _, line := range plan {
		fmt.Fprintln(p.stderr, line)
	}
	if p.yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return &usageError{clear: true,
			message: "this changes something and there is no terminal to ask at: nothing was changed. Add --yes if you mean it."}
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	line, err := p.readLine(ctx)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was changed")
}

// typeName has a name typed at the terminal, where a yes would be too easy.
func (p *program) typeName(ctx context.Context, question, name string) error {
	fmt.Fprintf(p.stderr, "%s: ", question)
	line, err := p.readLine(ctx)
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != name {
		return &refusedError{"that is not its name: nothing was changed"}
	}
	return nil
}

// readLine reads one line, or as much as there is. Ctrl-C must end the wait for a
// person, and nothing else can end a read from a terminal: the goroutine that
// reads is left behind, for the moment that the program still has.
func (p *program) readLine(ctx context.Context) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	if p.typing == nil {
		p.typing = bufio.NewReader(p.stdin)
	}
	go func() {
		line, err := p.typing.ReadString('\n')
		read <- result{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.stderr)
		return "", errors.New("interrupted: nothing was changed")
	case r := <-read:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", r.err)
		}
		return r.line, nil
	}
}

// next ends a change with the command to go on with.
func (p *program) next(what, command string) {
	if p.format != "json" {
		fmt.Fprintf(p.stderr, "%s: %s\n", what, command)
	}
}
