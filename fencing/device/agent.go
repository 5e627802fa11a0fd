package device

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/config"
)

const (
	// maxMetadata is the longest description of an agent that is read, in bytes; the
	// longest of those that Debian 12 ships has 11 KiB.
	maxMetadata = 256 << 10
	// maxParameters is how many parameters of an agent are read.
	maxParameters = 1000
)

// Agent is a fence agent as it describes itself.
type Agent struct {
	Name       string      `json:"name"` // such as fence_ipmilan
	Short      string      `json:"short,omitempty"`
	Long       string      `json:"long,omitempty"`
	Parameters []Parameter `json:"parameters"` // in the agent's order
	Actions    []string    `json:"actions"`
}

// Parameter is an option that an agent takes.
type Parameter struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"` // string, boolean, integer, second or select
	Default    string   `json:"default,omitempty"`
	Choices    []string `json:"choices,omitempty"` // of a select
	Help       string   `json:"help,omitempty"`
	Deprecated bool     `json:"deprecated,omitempty"`
	Obsoletes  string   `json:"obsoletes,omitempty"` // the name that this one had before
	// Refused says why this option cannot be set here, if it cannot.
	Refused string `json:"refused,omitempty"`
}

// Parameter finds a parameter by name, or nil.
func (a *Agent) Parameter(name string) *Parameter {
	for i := range a.Parameters {
		if a.Parameters[i].Name == name {
			return &a.Parameters[i]
		}
	}
	return nil
}

// Does reports whether the agent has that action.
func (a *Agent) Does(action string) bool { return slices.Contains(a.Actions, action) }

// names lists the parameters that may be set, without those of the past.
func (a *Agent) names() []string {
	var names []string
	for _, p := range a.Parameters {
		if !p.Deprecated && p.Refused == "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// ParseMetadata reads what an agent prints for the action "metadata": the XML of
// the fence agents' interface. It fails when that describes no agent.
func ParseMetadata(text []byte) (*Agent, error) {
	if len(text) > maxMetadata {
		return nil, fmt.Errorf("the description has %d bytes, the most is %d", len(text), maxMetadata)
	}
	var doc struct {
		XMLName    xml.Name `xml:"resource-agent"`
		Name       string   `xml:"name,attr"`
		Short      string   `xml:"shortdesc,attr"`
		Long       string   `xml:"longdesc"`
		Parameters []struct {
			Name       string `xml:"name,attr"`
			Deprecated string `xml:"deprecated,attr"`
			Obsoletes  string `xml:"obsoletes,attr"`
			Help       string `xml:"shortdesc"`
			Content    struct {
				Type    string `xml:"type,attr"`
				Default string `xml:"default,attr"`
				Options []struct {
					Value string `xml:"value,attr"`
				} `xml:"option"`
			} `xml:"content"`
		} `xml:"parameters>parameter"`
		Actions []struct {
			Name string `xml:"name,attr"`
		} `xml:"actions>action"`
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	// The agents write ASCII, whatever encoding they name.
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("the description is not what a fence agent prints: %w", err)
	}
	if len(doc.Parameters) > maxParameters || len(doc.Actions) > maxParameters {
		return nil, fmt.Errorf("the description lists %d parameters and %d actions, the most is %d",
			len(doc.Parameters), len(doc.Actions), maxParameters)
	}
	if len(doc.Actions) == 0 {
		return nil, errors.New("the description lists no actions")
	}
	a := &Agent{Name: printable(doc.Name), Short: printable(doc.Short), Long: printable(strings.TrimSpace(doc.Long))}
	for _, p := range doc.Parameters {
		if p.Name == "" || a.Parameter(p.Name) != nil {
			continue
		}
		q := Parameter{Name: printable(p.Name), Type: printable(p.Content.Type), Default: p.Content.Default, Help: printable(p.Help),
			Deprecated: p.Deprecated == "1", Obsoletes: p.Obsoletes, Refused: config.BadFenceOption(p.Name)}
		for _, o := range p.Content.Options {
			q.Choices = append(q.Choices, o.Value)
		}
		a.Parameters = append(a.Parameters, q)
	}
	for _, x := range doc.Actions {
		a.Actions = append(a.Actions, x.Name)
	}
	return a, nil
}
