package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/config"
)

// fmtLimit bounds what is read of a file to tidy.
const fmtLimit = 4 << 20

func (p *program) fmtCommand() *cli.Command {
	return p.leaf("fmt", "tidy HCL files in place; - reads standard input", "PATH...|-", 1, -1,
		[]cli.Flag{&cli.BoolFlag{Name: "check", Usage: "change nothing; exit with 2 when something is not tidy"}},
		func(_ context.Context, c *cli.Context) error {
			args := c.Args().Slice()
			if slices.Equal(args, []string{"-"}) {
				return p.fmtStream()
			}
			files, err := hclFiles(args)
			if err != nil {
				return err
			}
			untidy, err := p.fmtFiles(files, !c.Bool("check"))
			if err != nil {
				return err
			}
			if c.Bool("check") && untidy {
				return errNo
			}
			return nil
		})
}

func (p *program) fmtStream() error {
	src, err := io.ReadAll(io.LimitReader(p.stdin, fmtLimit))
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	out, err := config.Format("standard input", src)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(out)
	return err
}

// hclFiles lists the files that the arguments mean: of a directory, every *.hcl
// in it and in its conf.d.
func hclFiles(args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		info, err := os.Stat(a)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, a)
			continue
		}
		for _, pattern := range []string{"*.hcl", "conf.d/*.hcl"} {
			found, err := filepath.Glob(filepath.Join(a, pattern))
			if err != nil {
				return nil, fmt.Errorf("look into %s: %w", a, err)
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// fmtFiles formats every file before it writes any: one that cannot be parsed
// leaves all as they are.
func (p *program) fmtFiles(files []string, write bool) (untidy bool, err error) {
	type result struct {
		path string
		mode fs.FileMode
		text []byte
	}
	var changed []result
	for _, f := range files {
		// The file behind a link is what is replaced, not the link.
		path, err := filepath.EvalSymlinks(f)
		if err != nil {
			return false, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return false, err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		out, err := config.Format(f, src)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(src, out) {
			changed = append(changed, result{path, info.Mode().Perm(), out})
		}
	}
	for _, r := range changed {
		if write {
			if err := renameio.WriteFile(r.path, r.text, r.mode, renameio.WithExistingPermissions()); err != nil {
				return true, fmt.Errorf("write %s: %w", r.path, err)
			}
		}
		p.say("%s", r.path)
	}
	return len(changed) > 0, nil
}
