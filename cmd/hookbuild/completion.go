package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

const bashCompletion = `# bash completion for hookbuild
_hookbuild() {
	local words
	words=$("${COMP_WORDS[@]:0:COMP_CWORD}" "${COMP_WORDS[COMP_CWORD]}" --generate-bash-completion 2>/dev/null)
	COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _hookbuild hookbuild
`

const zshCompletion = `#compdef hookbuild
_hookbuild() {
	local -a found
	found=("${(@f)$("${words[@]:0:$CURRENT-1}" "${words[$CURRENT]}" --generate-bash-completion 2>/dev/null)}")
	compadd -a found
}
compdef _hookbuild hookbuild
`

const fishCompletion = `# fish completion for hookbuild
complete -c hookbuild -a '(set -l w (commandline -opc) (commandline -ct); $w --generate-bash-completion 2>/dev/null)'
`

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a completion script for bash, zsh or fish",
		ArgsUsage:   "SHELL",
		Description: "Example:\n  source <(hookbuild completion bash)",
		Flags:       commonFlags(),
		Action:      p.completion,
	}
}

func (p *program) completion(c *cli.Context) error {
	if err := noMore(c, 1); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	shell := c.Args().First()
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	script, ok := scripts[shell]
	if !ok {
		return &usageError{fmt.Sprintf("completion: want bash, zsh or fish, got %q", shell)}
	}
	if s.json {
		return p.printJSON(map[string]string{"shell": shell, "script": script})
	}
	_, err = io.WriteString(p.Stdout, script)
	return err
}
