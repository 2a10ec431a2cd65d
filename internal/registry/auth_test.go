package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const secret = "hunter2-very-secret"

// dockerConfig writes a config.json and returns its directory.
func dockerConfig(t *testing.T, text string) string {
	t.Helper()
	return filepath.Dir(write(t, "config.json", []byte(text)))
}

// loggedIn is a keychain whose config.json has a login for one host.
func loggedIn(t *testing.T, host, user, password string) authn.Keychain {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return DockerKeychain(dockerConfig(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)))
}

// helper puts a credential helper of that name on the PATH; script is its body, with the server in $server.
func helper(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nserver=$(cat)\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// silent fails where an error shows a credential, plain or as it travels.
func silent(t *testing.T, err error, user string) {
	t.Helper()
	for _, text := range []string{secret, base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))} {
		if err != nil && strings.Contains(fmt.Sprintf("%v %+v", err, err), text) {
			t.Errorf("%v shows a credential", err)
		}
	}
}

func TestBasic(t *testing.T) {
	s := newServer(t, true)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	s.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "ada" && password == secret {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	}
	for _, tc := range []struct {
		name     string
		keychain authn.Keychain
		looked   string // empty where it succeeds
	}{
		{"right", loggedIn(t, s.host(), "ada", secret), ""},
		{"right, host with a scheme", loggedIn(t, "https://"+s.host(), "ada", secret), ""},
		{"wrong", loggedIn(t, s.host(), "eve", secret), "credentials: those for " + s.host() + " in auths of "},
		{"of another host", loggedIn(t, "registry.example", "ada", secret), "credentials: none for " + s.host() + " in auths of "},
		{"no file", DockerKeychain(t.TempDir()), "credentials: none for " + s.host() + " in auths of "},
		{"no directory", DockerKeychain(""), "credentials: none, since there is no directory"},
		{"no keychain", nil, "credentials: none were given"},
		{"the caller's own", own{}, "credentials: those of the caller"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := quick()
			c.Keychain, c.Hosts = tc.keychain, map[string]Host{s.host(): {CA: s.ca()}}
			_, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
			silent(t, err, "eve")
			if tc.looked == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var auth *AuthError
			if !errors.As(err, &auth) || auth.Answer.Status != 401 {
				t.Fatalf("got %T %v", err, err)
			}
			has(t, err, "pull "+s.ref("x:1")+": "+s.host()+" answered 401 Unauthorized (UNAUTHORIZED: authentication required); "+tc.looked)
		})
	}
}

// own is a keychain of a caller's.
type own struct{}

func (own) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "eve", Password: secret}, nil
}

// tokens makes a server want tokens and give them, on its own host, to ada.
func tokens(s *server, scopes *[]string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if user, password, _ := r.BasicAuth(); user != "ada" || password != secret {
				w.WriteHeader(http.StatusForbidden)
				io.WriteString(w, `{"errors":[{"code":"DENIED","message":"who are you"}]}`)
				return true
			}
			*scopes = append(*scopes, r.URL.Query().Get("scope"))
			json.NewEncoder(w).Encode(map[string]string{"token": "token for " + r.URL.Query().Get("scope")})
			return true
		}
		got := r.Header.Get("Authorization")
		if strings.HasPrefix(got, "Bearer token for repository:team/x:") {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestToken(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 2, amd64)
	s.put(t, "team/x:1", img)
	var scopes []string
	s.hook = tokens(s, &scopes)
	c := quick()
	c.Keychain = loggedIn(t, s.host(), "ada", secret)
	if got, err := c.Pull(t.Context(), s.ref("team/x:1"), amd64, io.Discard); err != nil || got != digestOf(t, img) {
		t.Errorf("got %s, %v", got, err)
	}
	if want := "repository:team/x:pull"; strings.Join(scopes, " ") != want {
		t.Errorf("asked for a token for %q, want one, for %q", scopes, want)
	}
	scopes = nil
	if _, err := c.Push(t.Context(), saved(t, newImage(t, 2, 1, amd64), "x:1"), s.ref("team/x:2")); err != nil {
		t.Error(err)
	}
	if want := "repository:team/x:push,pull"; strings.Join(scopes, " ") != want {
		t.Errorf("asked for a token for %q, want one, for %q", scopes, want)
	}

	c.Keychain = loggedIn(t, s.host(), "eve", secret)
	_, err := c.Pull(t.Context(), s.ref("team/x:1"), amd64, io.Discard)
	var auth *AuthError
	if !errors.As(err, &auth) {
		t.Fatalf("got %T %v", err, err)
	}
	has(t, err, "answered 403 Forbidden (DENIED: who are you)", "credentials: those for "+s.host())
	silent(t, err, "eve")
}

func TestTokenServerWithoutToken(t *testing.T) {
	s := newServer(t, false)
	s.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			fmt.Fprintf(w, `{"refresh_token":%q}`, secret)
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err := quick().Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, "no token in bearer response")
	silent(t, err, "")
}

func TestTokenServerBusy(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 1, amd64)
	s.put(t, "team/x:1", img)
	var scopes []string
	busy := times(1, "/token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	give := tokens(s, &scopes)
	s.hook = func(w http.ResponseWriter, r *http.Request) bool { return busy(w, r) || give(w, r) }
	c := quick()
	c.Keychain = loggedIn(t, s.host(), "ada", secret)
	if _, err := c.Resolve(t.Context(), s.ref("team/x:1"), amd64); err != nil || s.count("/token") != 2 {
		t.Errorf("%v after %v", err, s.asked())
	}
}

// An identity token goes to the token server in the body of a POST, which is sent anew when it is repeated.
func TestIdentityToken(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "team/x:1", newImage(t, 1, 1, amd64))
	posts := 0
	s.hook = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token" && r.Method == http.MethodPost:
			if posts++; posts == 1 {
				w.WriteHeader(http.StatusBadGateway)
			} else if r.FormValue("refresh_token") == secret {
				io.WriteString(w, `{"access_token":"good"}`)
			}
			return true
		case r.Header.Get("Authorization") == "Bearer good":
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	c := quick()
	c.Keychain = DockerKeychain(dockerConfig(t, fmt.Sprintf(`{"auths":{%q:{"identitytoken":%q}}}`, s.host(), secret)))
	if _, err := c.Resolve(t.Context(), s.ref("team/x:1"), amd64); err != nil || posts != 2 {
		t.Errorf("%v after %d requests for a token", err, posts)
	}
}

func TestDockerKeychain(t *testing.T) {
	helper(t, "test", fmt.Sprintf(`
case $server in
registry.example) echo '{"ServerURL":"registry.example","Username":"ada","Secret":"%[1]s"}' ;;
token.example) echo '{"ServerURL":"token.example","Username":"<token>","Secret":"%[1]s"}' ;;
"%[2]s") echo '{"Username":"hub","Secret":"%[1]s"}' ;;
locked.example) echo "the store is locked"; exit 1 ;;
leaky.example) echo '{"Username":"ada","Secret":"%[1]s"}'; echo %[1]s >&2; exit 1 ;;
garbled.example) echo 'ada %[1]s' ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac`, secret, authn.DefaultAuthKey))
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths":{"registry.example":{"auth":"ZXZlOmV2ZQ=="}}}`) // the CLI's; not ours to read
	basic := &authn.AuthConfig{Username: "ada", Password: secret}
	store, helpers := `{"credsStore":"test"}`, `{"credHelpers":{"registry.example":"test","none.example":"absent"}}`
	for _, tc := range []struct {
		name, config, host string
		want               *authn.AuthConfig // nil is anonymous
		looked, err        string
	}{
		{"store", store, "registry.example", basic, "those for registry.example in docker-credential-test (credsStore of ", ""},
		{"store, unknown host", store, "other.example", nil, "none for other.example in docker-credential-test (credsStore of ", ""},
		{"store, identity token", store, "token.example", &authn.AuthConfig{IdentityToken: secret}, "those for", ""},
		{"store, Docker's registry", store, name.DefaultRegistry, &authn.AuthConfig{Username: "hub", Password: secret}, "those for", ""},
		{"store, locked", store, "locked.example", nil, "", "credentials for locked.example from docker-credential-test (credsStore of "},
		{"store, its reason", store, "locked.example", nil, "", "exit status 1: the store is locked"},
		{"store, fails and tells", store, "leaky.example", nil, "", "exit status 1"},
		{"store, no JSON", store, "garbled.example", nil, "", "cannot read its answer"},
		{"helper", helpers, "registry.example", basic, "(credHelpers of ", ""},
		{"helper of another host", helpers, "other.example", nil, "none for other.example in auths of ", ""},
		{"helper not installed", helpers, "none.example", nil, "", "docker-credential-absent"},
		{"no JSON", "{", "registry.example", nil, "", "read credentials: "},
		{"empty", "{}", "registry.example", nil, "none for registry.example in auths of ", ""},
		{"identity token in the file", `{"auths":{"registry.example":{"identitytoken":"` + secret + `"}}}`, "registry.example",
			&authn.AuthConfig{IdentityToken: secret}, "those for registry.example in auths of ", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			registry, err := name.NewRegistry(tc.host)
			if err != nil {
				t.Fatal(err)
			}
			found, err := DockerKeychain(dockerConfig(t, tc.config)).Resolve(registry)
			silent(t, err, "ada")
			if tc.err != "" {
				has(t, err, tc.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := found.Authorization()
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			if want == nil {
				want = &authn.AuthConfig{}
			}
			if *got != *want {
				t.Errorf("got %+v, want %+v", *got, *want)
			}
			has(t, errors.New(found.(credential).looked), tc.looked)
		})
	}
}

func TestHelperInUse(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 1, amd64)
	s.put(t, "team/x:1", img)
	var scopes []string
	s.hook = tokens(s, &scopes)
	c := quick()
	c.Keychain = DockerKeychain(dockerConfig(t, `{"credsStore":"test"}`))
	helper(t, "test", fmt.Sprintf(`echo '{"Username":"ada","Secret":%q}'`, secret))
	if _, err := c.Resolve(t.Context(), s.ref("team/x:1"), amd64); err != nil {
		t.Error(err)
	}
	s.forget()
	helper(t, "test", "echo no; exit 3")
	_, err := c.Resolve(t.Context(), s.ref("team/x:1"), amd64)
	var other *Error
	if !errors.As(err, &other) || len(s.asked()) != 0 {
		t.Errorf("got %T %v after %v, want an *Error and no request", err, err, s.asked())
	}
	has(t, err, "resolve "+s.ref("team/x:1")+": credentials for "+s.host()+" from docker-credential-test", "exit status 3: no")
}

func TestCancelledHelper(t *testing.T) {
	helper(t, "test", "sleep 120")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c := &Client{Keychain: DockerKeychain(dockerConfig(t, `{"credsStore":"test"}`))}
	start := time.Now()
	_, err := c.Resolve(ctx, "registry.example/x:1", amd64)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Minute {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}
