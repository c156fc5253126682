package spark

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"headwater/internal/setting"
)

// Config is how Spark is found and told what it may use.
type Config struct {
	// Submit is the command that runs an application, a path or a name that is looked for in PATH.
	Submit string `yaml:"submit"`
	// Master is where it runs: local[*] is this machine. The driver is always a process of this one.
	Master string `yaml:"master"`
	// Conf are settings of Spark by their names, before which those in its own spark-defaults.conf do not count. Nobody sees them in a list of processes.
	Conf map[string]setting.Secret `yaml:"conf"`
	// Args are further arguments of the command, as --packages. Everybody on the machine may see them.
	Args []string `yaml:"args"`
	// AutoAbove is how many bytes, compressed, a day's objects must have for the engine auto to take Spark.
	AutoAbove setting.Bytes `yaml:"auto_above"`
}

// DefaultConfig is a Spark on this machine.
func DefaultConfig() Config {
	return Config{Submit: "spark-submit", Master: "local[*]", Conf: map[string]setting.Secret{}, Args: []string{}, AutoAbove: 50 << 30}
}

// Validate reports everything that is wrong.
func (c *Config) Validate() setting.Faults {
	var faults setting.Faults
	if c.Submit == "" {
		faults.Add([]string{"submit"}, "must be the command spark-submit, or the path of it")
	}
	if c.Master == "" {
		faults.Add([]string{"master"}, "must be local[*], spark://host:7077, yarn, k8s://… or another master of Spark")
	}
	if c.AutoAbove < 0 {
		faults.Add([]string{"auto_above"}, "must be 0 or more, got %s", c.AutoAbove)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Conf)) {
		if !strings.HasPrefix(key, "spark.") {
			faults.Add([]string{"conf", key}, "must begin with spark., as all settings of Spark; those of Hadoop begin with spark.hadoop.")
		}
	}
	for _, arg := range c.Args {
		if arg == "--deploy-mode" || strings.HasPrefix(arg, "--deploy-mode=") || strings.HasPrefix(arg, "--properties-file") {
			faults.Add([]string{"args"}, "must not have %s: the driver is a process of this machine, and what the file would say belongs into conf", arg)
		}
	}
	return faults
}

// properties are those of the application, as the file that spark-submit is given has them. What the configuration says counts before what the lake needs.
func (c *Config) properties(lake map[string]string) []byte {
	all := map[string]string{}
	if strings.HasPrefix(c.Master, "local") { // what listens would otherwise do so on all addresses
		all["spark.ui.enabled"], all["spark.driver.bindAddress"], all["spark.driver.host"] = "false", "127.0.0.1", "127.0.0.1"
	}
	maps.Copy(all, lake)
	for key, value := range c.Conf {
		all[key] = value.Reveal()
	}
	var text []byte
	for _, key := range slices.Sorted(maps.Keys(all)) {
		text = fmt.Appendf(text, "%s=%s\n", escaped.Replace(key), escaped.Replace(all[key]))
	}
	return text
}

// escaped is what Java's properties need.
var escaped = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "=", `\=`, ":", `\:`, " ", `\ `, "#", `\#`, "!", `\!`)
