package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder puts a command line into the order that the library reads: global
// flags, command words, the command's flags, "--", arguments. The library stops
// at the first argument and would pass over a flag after it; a --yes that is
// silently lost, or an unknown flag that is, must not happen.
func reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	w := &walk{app: app, commands: app.Commands}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			w.positional = append(w.positional, args[i+1:]...)
			i = len(args)
		case a == "-h" || a == "-help" || a == "--help":
			w.help = true
		case len(a) > 1 && a[0] == '-':
			taken, err := w.flag(a, args[i+1:])
			if err != nil {
				return nil, err
			}
			i += taken
		default:
			if err := w.word(a); err != nil {
				return nil, err
			}
		}
	}
	return w.line()
}

// walk is how far a command line has been read.
type walk struct {
	app        *cli.App
	command    *cli.Command   // reached so far; nil: none
	commands   []*cli.Command // that may follow
	path       []string
	globals    []string
	flags      []string
	positional []string
	help       bool
}

// name is the command as a person would type it.
func (w *walk) name() string { return strings.Join(append([]string{w.app.Name}, w.path...), " ") }

// word is a command's name as long as one is due, an argument afterwards.
func (w *walk) word(a string) error {
	if len(w.commands) == 0 {
		w.positional = append(w.positional, a)
		return nil
	}
	for _, c := range w.commands {
		if c.HasName(a) {
			w.command, w.commands = c, c.Subcommands
			w.path = append(w.path, c.Name)
			return nil
		}
	}
	return &usageError{message: fmt.Sprintf("%s: there is no %q; there is %s%s",
		w.name(), a, strings.Join(w.words(), ", "), didYouMean(a, w.words()))}
}

func (w *walk) words() []string {
	var out []string
	for _, c := range w.commands {
		out = append(out, c.Name)
	}
	return out
}

// flag sorts one flag, and its value when that is the next word. taken is how
// many words after it belong to it.
func (w *walk) flag(a string, rest []string) (taken int, err error) {
	name, value, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
	into, f := &w.globals, find(w.app.Flags, name)
	if w.command != nil {
		if own := find(w.command.Flags, name); own != nil {
			into, f = &w.flags, own
		}
	}
	if f == nil || len(name) > 1 && !strings.HasPrefix(a, "--") {
		return 0, &usageError{message: fmt.Sprintf("%s: there is no flag %s%s", w.name(), a, didYouMean("--"+name, w.flagNames()))}
	}
	if _, ok := f.(*cli.BoolFlag); ok {
		if inline && value != "true" && value != "false" {
			return 0, &usageError{message: fmt.Sprintf("%s: --%s is true or false, not %q", w.name(), name, value)}
		}
		*into = append(*into, a)
		return 0, nil
	}
	if !inline {
		if len(rest) == 0 || rest[0] == "--" {
			return 0, &usageError{message: fmt.Sprintf("%s: %s needs a value", w.name(), a)}
		}
		value, taken = rest[0], 1
	}
	*into = append(*into, "--"+name+"="+value)
	return taken, nil
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// flagNames are all flags that count here, with their dashes.
func (w *walk) flagNames() []string {
	flags := w.app.Flags
	if w.command != nil {
		flags = append(slices.Clone(w.command.Flags), flags...)
	}
	var out []string
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				out = append(out, "--"+n)
			}
		}
	}
	return append(out, "--help")
}

// line is the whole command line in the library's order.
func (w *walk) line() ([]string, error) {
	out := append(slices.Clone(w.globals), w.path...)
	if w.help {
		return append(out, "--help"), nil
	}
	if w.command != nil && len(w.commands) > 0 {
		return nil, &usageError{message: fmt.Sprintf("%s: which one? There is %s", w.name(), strings.Join(w.words(), ", "))}
	}
	out = append(out, w.flags...)
	if len(w.positional) > 0 {
		if w.command == nil {
			return nil, &usageError{message: fmt.Sprintf("%q is not a command", w.positional[0])}
		}
		out = append(append(out, "--"), w.positional...)
	}
	return out, nil
}

// didYouMean names the nearest known word when one is near.
func didYouMean(got string, known []string) string {
	best, distance := "", len(got)/3+2
	for _, k := range known {
		if d := editDistance(got, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// editDistance counts the letters to insert, remove or change to get from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(row[j]+1, row[j-1]+1, change)
		}
	}
	return row[len(b)]
}
