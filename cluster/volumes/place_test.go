package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

const mountinfo = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
25 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=4k
26 25 0:22 / /dev/shm rw - tmpfs tmpfs rw
40 22 0:45 / /srv/vm rw,relatime shared:20 - nfs4 filer:/export/vm rw,vers=4.2,hard,clientaddr=192.0.2.1,local_lock=none,addr=192.0.2.9
41 22 0:46 / /srv/old rw - nfs old\040filer:/export rw,vers=3
42 22 0:47 / /srv/six rw - nfs4 [2001:db8::1]:/export rw
43 22 253:3 / /srv/gfs rw - gfs2 /dev/mapper/shared rw
44 22 0:48 / /srv/with\040blank rw - cifs //winbox/share rw,addr=192.0.2.77
45 22 0:49 / /srv/ceph rw - ceph 192.0.2.21,192.0.2.22:/vol rw
46 22 0:50 / /srv/ceph2 rw - ceph ha@5a6b.fs=/ rw,mon_addr=192.0.2.21:3300/192.0.2.22:3300
47 22 0:51 / /srv/gluster rw - fuse.glusterfs node1:/vol rw
48 22 0:52 / /srv/over rw - nfs4 first:/x rw,addr=192.0.2.10
49 48 0:53 / /srv/over rw - nfs4 second:/x rw,addr=192.0.2.11
this line is none
`

// tree writes files below a root; one that ends in @ is a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		link := name[len(name)-1] == '@'
		if link {
			name = name[:len(name)-1]
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link {
			err = os.Symlink(text, path)
		} else {
			err = os.WriteFile(path, []byte(text+"\n"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLocate(t *testing.T) {
	const (
		iscsi = "sys/devices/platform/host3/session1/target3:0:0/3:0:0:0/block/sdb"
		other = "sys/devices/platform/host4/session12/target4:0:0/4:0:0:0/block/sdc"
		fc    = "sys/devices/pci0000:00/0000:00:04.0/host5/rport-5:0-3/target5:0:0/5:0:0:1/block/sdd"
		nvme  = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
		plain = "sys/devices/virtual/nvme-fabrics/ctl/nvme7"
		local = "sys/devices/pci0000:00/0000:00:05.0/nvme/nvme9"
	)
	root := tree(t, map[string]string{
		"proc/self/mountinfo": mountinfo,
		iscsi + "/size":       "1", iscsi + "/sdb1/partition": "1", other + "/size": "1", fc + "/size": "1",
		"sys/class/iscsi_connection/connection1:0/persistent_address":  "192.0.2.40",
		"sys/class/iscsi_connection/connection12:0/persistent_address": "192.0.2.41",
		"sys/class/fc_remote_ports/rport-5:0-3/node_name":              "0x5006016047200001",
		"sys/dev/block/8:16@":                                  "../../../" + iscsi,
		"sys/dev/block/8:17@":                                  "../../../" + iscsi + "/sdb1",
		"sys/dev/block/8:48@":                                  "../../../" + fc,
		"sys/devices/virtual/block/dm-0/slaves/sdb@":           "../../../../../../" + iscsi,
		"sys/devices/virtual/block/dm-0/slaves/sdc@":           "../../../../../../" + other,
		"sys/dev/block/253:0@":                                 "../../devices/virtual/block/dm-0",
		"sys/devices/virtual/block/dm-3/slaves/dm-0@":          "../../dm-0",
		"sys/dev/block/253:3@":                                 "../../devices/virtual/block/dm-3",
		"sys/devices/virtual/block/md0/slaves/sdd@":            "../../../../../../" + fc,
		"sys/devices/virtual/block/md0/md0p1/size":             "1",
		"sys/dev/block/259:9@":                                 "../../devices/virtual/block/md0/md0p1",
		nvme + "/nvme0n1/size":                                 "1",
		nvme + "/nvme0@":                                       "../../nvme-fabrics/ctl/nvme0",
		nvme + "/nvme1@":                                       "../../nvme-fabrics/ctl/nvme1",
		"sys/devices/virtual/nvme-fabrics/ctl/nvme0/transport": "tcp",
		"sys/devices/virtual/nvme-fabrics/ctl/nvme0/address":   "traddr=192.0.2.51,trsvcid=4420,src_addr=192.0.2.1",
		"sys/devices/virtual/nvme-fabrics/ctl/nvme1/transport": "rdma",
		"sys/devices/virtual/nvme-fabrics/ctl/nvme1/address":   "traddr=192.0.2.50,trsvcid=4420",
		"sys/dev/block/259:0@":                                 "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
		plain + "/transport":                                   "fc",
		plain + "/address":                                     "traddr=nn-0x200400a0b8:pn-0x210400a0b8,host_traddr=nn-0x1:pn-0x2",
		plain + "/nvme7n1/size":                                "1",
		"sys/dev/block/259:7@":                                 "../../../" + plain + "/nvme7n1",
		local + "/transport":                                   "pcie",
		local + "/address":                                     "0000:00:05.0",
		local + "/nvme9n1/size":                                "1",
		"sys/dev/block/259:99@":                                "../../../" + local + "/nvme9n1",
		"hb@":                                                  "/srv/vm/.holdfast",
		"srv/relative@":                                        "../srv/old/hb",
		"loop@":                                                "/loop",
	})
	numbers := map[string]string{"/dev/sdb": "8:16", "/dev/sdb1": "8:17", "/dev/sdd": "8:48", "/dev/mapper/mp": "253:0", "/dev/mapper/lv": "253:3", "/dev/md0p1": "259:9",
		"/dev/nvme0n1": "259:0", "/dev/nvme7n1": "259:7", "/dev/nvme9n1": "259:99", "/dev/unknown": "7:7"}
	s := system{root: root, device: func(path string) (string, error) {
		if n := numbers[path]; n != "" {
			return n, nil
		}
		return "", errors.New("no block device")
	}}
	for _, tc := range []struct {
		path string
		want Place
	}{
		{"/dev/sdb", Place{"block", "192.0.2.40"}},
		{"/dev/sdb1", Place{"block", "192.0.2.40"}},
		{"/dev/sdd", Place{"block", "0x5006016047200001"}},
		{"/dev/mapper/mp", Place{"block", "192.0.2.40,192.0.2.41"}},
		{"/dev/mapper/lv", Place{"block", "192.0.2.40,192.0.2.41"}},
		{"/dev/md0p1", Place{"block", "0x5006016047200001"}},
		{"/dev/nvme0n1", Place{"block", "192.0.2.50,192.0.2.51"}},
		{"/dev/nvme7n1", Place{"block", "0x200400a0b8"}},
		{"/dev/nvme9n1", Place{"block", ""}},
		{"/dev/unknown", Place{"block", ""}},
		{"/dev/shm/hb", Place{"other", ""}},
		{"/srv/vm/.holdfast", Place{"nfs", "192.0.2.9"}},
		{"/srv/vm", Place{"nfs", "192.0.2.9"}},
		{"/srv/vmware/hb", Place{"other", ""}},
		{"/srv/old/hb", Place{"nfs", "old filer"}},
		{"/srv/six/hb", Place{"nfs", "2001:db8::1"}},
		{"/srv/gfs/hb", Place{"other", "192.0.2.40,192.0.2.41"}},
		{"/srv/with blank/hb", Place{"other", "192.0.2.77"}},
		{"/srv/ceph/hb", Place{"other", "192.0.2.21,192.0.2.22"}},
		{"/srv/ceph2/hb", Place{"other", "192.0.2.21:3300,192.0.2.22:3300"}},
		{"/srv/gluster/hb", Place{"other", "node1"}},
		{"/srv/over/hb", Place{"nfs", "192.0.2.11"}},
		{"/hb", Place{"nfs", "192.0.2.9"}},
		{"/srv/relative", Place{"nfs", "old filer"}},
		{"/loop/hb", Place{"other", ""}},
		{"/nowhere", Place{"other", ""}},
	} {
		got, err := s.locate(tc.path)
		if err != nil || got != tc.want {
			t.Errorf("%s is at %+v (%v), want %+v", tc.path, got, err, tc.want)
		}
	}
	if p, err := (system{root: t.TempDir(), device: s.device}).locate("/srv/vm/hb"); err == nil {
		t.Errorf("without the kernel's word it is at %+v", p)
	}
}

// On this very machine a path is found to be somewhere.
func TestLocateHere(t *testing.T) {
	p, err := Locate(t.TempDir())
	if err != nil || p.Kind == "" || p.Kind == "block" {
		t.Errorf("a directory is at %+v, %v", p, err)
	}
}
