package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
)

// Kind is what a Leftover is.
type Kind string

// The kinds of leftovers.
const (
	ImageKind      Kind = "image"
	ContainerKind  Kind = "container"
	BuildCacheKind Kind = "build cache"
)

// Leftover is something that hookbuild has put into the engine.
type Leftover struct {
	Kind  Kind
	ID    string    // what Discard goes by: an image's name, a container's or a cache's id
	Name  string    // for a person
	Bytes int64     // that come free where only this is removed
	Used  time.Time // when it was last used; of a container, when it was made
	Busy  string    // what uses it now; empty where nothing does
}

// Recognize tells what is ours from what is not. Both functions are required.
type Recognize struct {
	Image func(name string) bool // by a name with its tag
	Mount func(text string) bool // by what BuildKit says of a cache mount
}

// Leftovers lists what hookbuild has put into the engine, and nothing of anybody else's: images by their names,
// containers by their label, and cache mounts of builds. The layers in the build cache do not say whose they are, and
// are left to the engine's own collection.
func (e *Engine) Leftovers(ctx context.Context, ours Recognize) ([]Leftover, error) {
	used, err := e.docker.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.ImageObject, types.BuildCacheObject}})
	if err != nil {
		return nil, fmt.Errorf("ask the engine what it holds: %w", err)
	}
	containers, users, err := e.leftoverContainers(ctx)
	if err != nil {
		return nil, err
	}
	var list []Leftover
	for _, img := range used.Images {
		for _, name := range img.RepoTags {
			if !ours.Image(name) {
				continue
			}
			l, err := e.leftoverImage(ctx, img, name)
			if errors.Is(err, ErrNoImage) { // gone meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			if users[img.ID] {
				l.Busy = "a container uses it"
			}
			list = append(list, l)
		}
	}
	list = append(list, containers...)
	for _, c := range used.BuildCache {
		if c.Type != cacheMount || !ours.Mount(c.Description) {
			continue
		}
		l := Leftover{Kind: BuildCacheKind, ID: c.ID, Name: mountName(c.Description), Bytes: c.Size, Used: c.CreatedAt}
		if c.LastUsedAt != nil {
			l.Used = *c.LastUsedAt
		}
		if c.InUse {
			l.Busy = "a build uses it"
		}
		list = append(list, l)
	}
	return list, nil
}

// cacheMount is BuildKit's type of what a RUN mounts as a cache.
const cacheMount = "exec.cachemount"

// mountName is the directory that a cache is mounted at, and its id where BuildKit says it.
func mountName(description string) string {
	words := strings.Fields(strings.TrimPrefix(description, "cached mount "))
	if len(words) == 0 {
		return "cache mount"
	}
	if _, id, ok := strings.Cut(description, `with id "`); ok {
		id, _, _ = strings.Cut(id, `"`)
		return words[0] + " " + id[strings.LastIndex(id, "/")+1:]
	}
	return words[0]
}

func (e *Engine) leftoverImage(ctx context.Context, img *image.Summary, name string) (Leftover, error) {
	l := Leftover{Kind: ImageKind, ID: name, Name: name, Bytes: img.Size, Used: time.Unix(img.Created, 0)}
	if img.SharedSize > 0 {
		l.Bytes -= img.SharedSize
	}
	if len(img.RepoTags) > 1 {
		l.Bytes = 0 // only a name goes
	}
	got, err := e.docker.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return l, ErrNoImage
	}
	if err != nil {
		return l, fmt.Errorf("inspect image %s: %w", name, err)
	}
	if got.Metadata.LastTagTime.After(l.Used) {
		l.Used = got.Metadata.LastTagTime
	}
	return l, nil
}

// leftoverContainers returns our containers, and the ids of the images that other containers, or ours that are busy, are
// made of.
func (e *Engine) leftoverContainers(ctx context.Context) (list []Leftover, users map[string]bool, err error) {
	all, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Size: true})
	if err != nil {
		return nil, nil, fmt.Errorf("list the engine's containers: %w", err)
	}
	users = map[string]bool{}
	for _, c := range all {
		busy := slices.Contains([]string{container.StateRunning, container.StatePaused, container.StateRestarting, container.StateRemoving}, c.State)
		_, ours := c.Labels[Label]
		if busy || !ours {
			users[c.ImageID] = true
		}
		if !ours {
			continue
		}
		l := Leftover{Kind: ContainerKind, ID: c.ID, Name: c.ID[:min(12, len(c.ID))] + " of " + c.Image, Bytes: c.SizeRw, Used: time.Unix(c.Created, 0)}
		if busy {
			l.Busy = "it is " + c.State
		}
		list = append(list, l)
	}
	return list, users, nil
}

// BusyError says that a leftover is in use after all.
type BusyError struct {
	What string
	Err  error
}

// Error names it, and what the engine says.
func (e *BusyError) Error() string { return fmt.Sprintf("%s is in use: %v", e.What, e.Err) }

func (e *BusyError) Unwrap() error { return e.Err }

// Discard removes a leftover. Nothing is forced: what is in use by now is a *BusyError. What is gone is no error.
func (e *Engine) Discard(ctx context.Context, l Leftover) error {
	var err error
	switch l.Kind {
	case ImageKind:
		_, err = e.docker.ImageRemove(ctx, l.ID, image.RemoveOptions{PruneChildren: true})
	case ContainerKind:
		err = e.docker.ContainerRemove(ctx, l.ID, container.RemoveOptions{RemoveVolumes: true})
	case BuildCacheKind: // a filter, which a cache that is in use does not match either
		_, err = e.docker.BuildCachePrune(ctx, build.CachePruneOptions{All: true, Filters: filters.NewArgs(filters.Arg("id", l.ID), filters.Arg("type", cacheMount))})
	default:
		return fmt.Errorf("there is no kind of leftovers %q", l.Kind)
	}
	switch {
	case errdefs.IsConflict(err):
		return &BusyError{l.Name, err}
	case err != nil && !errdefs.IsNotFound(err):
		return fmt.Errorf("remove %s %s: %w", l.Kind, l.Name, err)
	}
	return nil
}
