package limits

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/chaos/schedule"
)

const (
	v1Mounts = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /box/a /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	v2Mounts = `30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
`
)

func TestGroupsOfBothVersionsAreFound(t *testing.T) {
	const v1Groups = "9:cpu,cpuacct:/user\n4:memory:/box/a/b\n0::/user\n"
	for name, c := range map[string]struct {
		controller, mounts, groups string
		want                       place
	}{
		"version 1": {
			"cpu", v1Mounts, v1Groups,
			place{1, "/sys/fs/cgroup/cpu/user", "/sys/fs/cgroup/cpu/user"},
		},
		"version 1, a mount that shows a part": {
			"memory", v1Mounts, v1Groups,
			place{1, "/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory/b"},
		},
		"version 2": {
			"memory", v2Mounts, "0::/user.slice/session.scope\n",
			place{2, "/sys/fs/cgroup/user.slice/session.scope", "/sys/fs/cgroup/user.slice"},
		},
		"version 2, the root": {"cpu", v2Mounts, "0::/\n", place{2, "/sys/fs/cgroup", "/sys/fs/cgroup"}},
		"both versions": {
			"io", v1Mounts, v1Groups,
			place{2, "/sys/fs/cgroup/unified/user", "/sys/fs/cgroup/unified"},
		},
	} {
		got, err := find(c.controller, c.mounts, c.groups)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(place{})); err != nil || diff != "" {
			t.Errorf("%s: error %v, difference %s", name, err, diff)
		}
	}
	for name, c := range map[string][3]string{
		"nothing mounted":           {"cpu", "", "0::/\n"},
		"version 1 and not mounted": {"memory", v2Mounts, "4:memory:/\n0::/\n"},
		"no groups":                 {"cpu", v2Mounts, ""},
	} {
		if p, err := find(c[0], c[1], c[2]); err == nil {
			t.Errorf("%s: found %+v", name, p)
		}
	}
}

func TestLimitsAreWrittenAsTheVersionHasThem(t *testing.T) {
	memory, cpu := limit{schedule.Memory, 4096}, limit{schedule.CPU, 5000}
	for _, c := range []struct {
		limit   limit
		version int
		want    []setting
	}{
		{memory, 1, []setting{{"memory.limit_in_bytes", "4096", false}, {"memory.swappiness", "0", true}}},
		{memory, 2, []setting{{"memory.max", "4096", false}, {"memory.swap.max", "0", true}}},
		{cpu, 1, []setting{{"cpu.cfs_period_us", "100000", false}, {"cpu.cfs_quota_us", "5000", false}}},
		{cpu, 2, []setting{{"cpu.max", "5000 100000", false}}},
	} {
		got := settings(c.limit, c.version)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(setting{})); diff != "" {
			t.Errorf("%+v, version %d: %s", c.limit, c.version, diff)
		}
	}
}

func TestEventsAreCountedByName(t *testing.T) {
	const events = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n"
	if got := counted(events, " ", "max"); got != 7 {
		t.Errorf("counted %d, expected 7", got)
	}
	const status = "Name:\tnode\nRssAnon:\t     100 kB\nRssFile:\t 7 kB\nRssShmem:\t       3 kB\n"
	if got := counted(status, ":", "RssAnon", "RssShmem"); got != 103 {
		t.Errorf("counted %d, expected 103", got)
	}
}
