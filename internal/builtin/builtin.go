// Package builtin is the one page of registrations: whatever the binary can read from has its line here.
package builtin

import (
	"headwater/collect"
	"headwater/collect/file"
	"headwater/collect/push"
	"headwater/collect/websocket"
	"headwater/internal/config"
)

// Sources are the kinds of sources that a pipeline file may name.
func Sources() *config.Registry {
	var r config.Registry
	config.Add(&r, "file", file.DefaultConfig, func(c file.Config, env config.Env) (collect.Source, error) {
		return file.New(c, env.Base, env.Logger), nil
	})
	config.Add(&r, "push", push.DefaultConfig, func(c push.Config, env config.Env) (collect.Source, error) {
		s := push.New(c, env.Logger)
		if env.Handle != nil {
			env.Handle(c.HTTPPath(env.Name), s)
		}
		return s, nil
	})
	config.Add(&r, "websocket", websocket.DefaultConfig, func(c websocket.Config, env config.Env) (collect.Source, error) {
		return websocket.New(c, env.Base, env.Logger), nil
	})
	return &r
}
