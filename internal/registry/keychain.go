package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/docker/cli/cli/config"
	dockercredentials "github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"
	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// DockerKeychain finds credentials where `docker login` leaves them: in config.json of configDir, under
// auths, or with the credential helpers that credHelpers and credsStore name
// (https://docs.docker.com/reference/cli/docker/login/), which are executed. An empty configDir and a
// missing file have no credentials. The environment is not read.
func DockerKeychain(configDir string) authn.Keychain { return dockerKeychain{configDir} }

type dockerKeychain struct{ dir string }

// credential is what was found, and where.
type credential struct {
	authn.Authenticator
	looked string
}

// helperPrefix and tokenUser are of the protocol of credential helpers
// (https://github.com/docker/docker-credential-helpers).
const (
	helperPrefix = "docker-credential-"
	tokenUser    = "<token>"
)

// Resolve is ResolveContext for those who have no context.
func (k dockerKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext looks the registry of r up, without its repository, as the Docker CLI does.
func (k dockerKeychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	host := r.RegistryStr()
	if k.dir == "" {
		return credential{authn.Anonymous, "none, since there is no directory for Docker's config.json"}, nil
	}
	file := filepath.Join(k.dir, config.ConfigFileName)
	settings, err := config.Load(k.dir)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	key := host
	if key == name.DefaultRegistry {
		key = authn.DefaultAuthKey
	}
	helper, setting := settings.CredentialHelpers[key], "credHelpers"
	if helper == "" {
		helper, setting = settings.CredentialsStore, "credsStore"
	}
	// The file's own way to choose among these would also read the environment.
	where := "auths of " + file
	var found types.AuthConfig
	if helper == "" {
		found, err = dockercredentials.NewFileStore(settings).Get(key)
	} else {
		where = fmt.Sprintf("%s%s (%s of %s)", helperPrefix, helper, setting, file)
		found, err = askHelper(ctx, helper, key)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials for %s from %s: %w", host, where, err)
	}
	found.ServerAddress = "" // is always there and says nothing
	if found == (types.AuthConfig{}) {
		return credential{authn.Anonymous, fmt.Sprintf("none for %s in %s", host, where)}, nil
	}
	return credential{authn.FromConfig(authn.AuthConfig{
		Username:      found.Username,
		Password:      found.Password,
		Auth:          found.Auth,
		IdentityToken: found.IdentityToken,
		RegistryToken: found.RegistryToken,
	}), fmt.Sprintf("those for %s in %s", host, where)}, nil
}

// askHelper executes a credential helper. One that knows nothing of the key is no error.
func askHelper(ctx context.Context, helper, key string) (types.AuthConfig, error) {
	program := &helperProgram{cmd: exec.CommandContext(ctx, helperPrefix+helper, credentials.ActionGet)}
	program.cmd.WaitDelay = helperGrace
	found, err := client.Get(func(...string) client.Program { return program }, key)
	switch {
	case credentials.IsErrCredentialsNotFound(err):
		return types.AuthConfig{}, nil
	case program.err != nil:
		return types.AuthConfig{}, program.err
	case err != nil: // its text may have the answer in it
		return types.AuthConfig{}, errors.New("cannot read its answer")
	case found.Username == tokenUser:
		return types.AuthConfig{IdentityToken: found.Secret}, nil
	}
	return types.AuthConfig{Username: found.Username, Password: found.Secret}, nil
}

// helperGrace is how long a cancelled helper's children may keep its output open.
const helperGrace = time.Second

// helperProgram runs a helper for the library's client, whose own program knows no context and writes to
// our standard error.
type helperProgram struct {
	cmd *exec.Cmd
	err error // why it failed, without what may be secret
}

// Input gives the program its standard input.
func (p *helperProgram) Input(in io.Reader) { p.cmd.Stdin = in }

// Output runs the program.
func (p *helperProgram) Output() ([]byte, error) {
	out, err := p.cmd.Output()
	if err != nil && !credentials.IsErrCredentialsNotFoundMessage(string(out)) {
		p.err = err
		// By the protocol a failing helper says why on its standard output; credentials would be JSON.
		if text := oneLine(string(out)); text != "" && !bytes.Contains(out, []byte("{")) {
			p.err = fmt.Errorf("%w: %s", err, text)
		}
	}
	return out, err
}
