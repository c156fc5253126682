package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"headwater/internal/builtin"
	"headwater/internal/config"
)

func runSchemaJSON(_ context.Context, fs *flag.FlagSet, args []string, s streams) error {
	if _, err := parse(fs, args); err != nil {
		return err
	}
	return config.WriteSchema(s.out, builtin.Sources())
}

// runCompletion prints what a shell evaluates to complete commands, flags and files.
func runCompletion(_ context.Context, fs *flag.FlagSet, args []string, s streams) error {
	shell, err := parse(fs, args, "SHELL")
	if err != nil {
		return err
	}
	switch shell[0] {
	case "bash":
		return bashCompletion(s.out)
	case "zsh":
		fmt.Fprint(s.out, "autoload -U +X bashcompinit && bashcompinit\n")
		return bashCompletion(s.out)
	case "fish":
		return fishCompletion(s.out)
	}
	return usagef("SHELL must be bash, zsh or fish, got %q", shell[0])
}

// flagsOf are a command's, with dashes.
func flagsOf(c command) []string {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	_ = c.run(context.Background(), fs, []string{"--help"}, streams{out: io.Discard, err: io.Discard}) // registers them and says flag.ErrHelp
	var flags []string
	fs.VisitAll(func(f *flag.Flag) { flags = append(flags, "--"+f.Name) })
	return flags
}

// shown are the commands that help lists.
func shown() (all []command) {
	for _, c := range commands() {
		if c.summary != "" {
			all = append(all, c)
		}
	}
	return all
}

func bashCompletion(w io.Writer) error {
	var names []string
	var cases strings.Builder
	seconds := map[string][]string{} // second words, by the first
	for _, c := range shown() {
		first, second, two := strings.Cut(c.name, " ")
		if two {
			seconds[first] = append(seconds[first], second)
		} else {
			names = append(names, c.name)
		}
		if flags := flagsOf(c); len(flags) > 0 {
			pattern := strconv.Quote(c.name)
			if !two {
				pattern = strconv.Quote(c.name+" ") + "*"
			}
			fmt.Fprintf(&cases, "\t%s) flags=%q ;;\n", pattern, strings.Join(flags, " "))
		}
	}
	var words strings.Builder
	for _, first := range slices.Sorted(maps.Keys(seconds)) {
		fmt.Fprintf(&words, "\t\t%s) words=%q ;;\n", first, strings.Join(seconds[first], " "))
	}
	_, err := fmt.Fprintf(w, `_headwater() {
	local cur=${COMP_WORDS[COMP_CWORD]} flags= words=
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W %q -- "$cur"))
		return
	fi
	if [ "$COMP_CWORD" -eq 2 ]; then
		case ${COMP_WORDS[1]} in
%s		esac
	fi
	case "${COMP_WORDS[1]} ${COMP_WORDS[2]}" in
%s	esac
	case $cur in
	-*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
	*) COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur")) ;;
	esac
}
complete -o filenames -F _headwater headwater
`, strings.Join(names, " "), words.String(), cases.String())
	return err
}

func fishCompletion(w io.Writer) error {
	for _, c := range shown() {
		condition, name := "__fish_use_subcommand", c.name
		if first, second, two := strings.Cut(c.name, " "); two {
			condition, name = "'__fish_seen_subcommand_from "+first+"'", second
		}
		if _, err := fmt.Fprintf(w, "complete -c headwater -n %s -f -a %s -d '%s'\n", condition, name, strings.ReplaceAll(c.summary, "'", `\'`)); err != nil {
			return err
		}
		for _, option := range flagsOf(c) {
			if _, err := fmt.Fprintf(w, "complete -c headwater -n '__fish_seen_subcommand_from %s' -l %s\n", name, strings.TrimPrefix(option, "--")); err != nil {
				return err
			}
		}
	}
	return nil
}
