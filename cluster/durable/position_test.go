package durable

import "testing"

func TestCovers(t *testing.T) {
	for name, c := range map[string]struct {
		disk, stated Position
		want         bool
	}{
		"nothing was stated":                         {Position{}, Position{}, true},
		"as it was stated":                           {Position{5, 4, 910}, Position{5, 4, 910}, true},
		"entries came since":                         {Position{5, 4, 911}, Position{5, 4, 910}, true},
		"a newer term, whose log begins anew":        {Position{6, 4, 0}, Position{5, 4, 910}, true},
		"entries are missing":                        {Position{5, 4, 909}, Position{5, 4, 910}, false},
		"all entries of the term are":                {Position{5, 4, 0}, Position{5, 4, 910}, false},
		"the vote is, in the same term":              {Position{5, 4, 910}, Position{5, 5, 910}, false},
		"a vote more does not make up for an entry":  {Position{5, 5, 909}, Position{5, 4, 910}, false},
		"the term is, however long the log":          {Position{4, 4, 2000}, Position{5, 4, 910}, false},
		"the data directory is empty":                {Position{}, Position{1, 1, 1}, false},
		"a term that was learnt, nothing else":       {Position{5, 0, 0}, Position{5, 0, 0}, true},
		"a term that was learnt, and then forgotten": {Position{4, 4, 7}, Position{5, 0, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.disk.Covers(c.stated); got != c.want {
				t.Errorf("a disk at %v covers what was stated, %v: %v, want %v", c.disk, c.stated, got, c.want)
			}
			m := c.disk.Max(c.stated)
			if !m.Covers(c.disk) || !m.Covers(c.stated) || m != c.stated.Max(c.disk) {
				t.Errorf("the later of %v and %v is %v", c.disk, c.stated, m)
			}
		})
	}
}
