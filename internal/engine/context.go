package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CurrentContext is the context that `docker context use` chose, from config.json in the Docker CLI's
// configuration directory; "" where there is no such file.
func CurrentContext(configDir string) (string, error) {
	file := filepath.Join(configDir, "config.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var cfg struct {
		CurrentContext string `json:"currentContext"`
	}
	if err := json.Unmarshal(data, &cfg); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return cfg.CurrentContext, nil
}
