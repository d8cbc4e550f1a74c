// Tiltfile evaluates a Tiltfile with the interpreter and the dialect of Tilt, and says what it
// asked Tilt for.
//
// Usage: tiltfile Tiltfile <builtins.json, which tells of Tilt's builtins what they give:
//
//	{"constants": {"TRIGGER_MODE_MANUAL": 1},
//	 "functions": {"docker_build": {}, "k8s_context": {"gives": "kind"},
//	               "os.getenv": {"by": {"HOME": "/root"}}}}
//
// A function gives what is under "by" for its first argument, or its second argument when there is
// nothing; without "gives" and "by" it gives the call itself, so that a call inside another one is
// seen where it was used. The output is an array of {"function", "arguments", "named"}, in the
// order of the calls.
package main

import (
	stdjson "encoding/json"
	"fmt"
	"os"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

// What Tilt allows on top of the language.
var dialect = &syntax.FileOptions{
	Set: true, TopLevelControl: true, GlobalReassign: true, Recursion: true, While: true,
}

type function struct {
	Gives stdjson.RawMessage            `json:"gives"`
	By    map[string]stdjson.RawMessage `json:"by"`
}

type builtins struct {
	Constants map[string]stdjson.RawMessage `json:"constants"`
	Functions map[string]function           `json:"functions"`
}

type recorder struct {
	thread *starlark.Thread
	calls  []starlark.Value
}

func main() {
	if err := run(os.Args[1]); err != nil {
		if evaluation, ok := err.(*starlark.EvalError); ok {
			fmt.Fprintln(os.Stderr, evaluation.Backtrace())
		}
		fmt.Fprintln(os.Stderr, "tiltfile:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	var known builtins
	if err := stdjson.NewDecoder(os.Stdin).Decode(&known); err != nil {
		return err
	}
	print := func(_ *starlark.Thread, text string) { fmt.Fprintln(os.Stderr, text) }
	record := &recorder{thread: &starlark.Thread{Name: path, Print: print}}
	predeclared, err := record.predeclare(known)
	if err != nil {
		return err
	}
	if _, err := starlark.ExecFileOptions(dialect, record.thread, path, nil, predeclared); err != nil {
		return err
	}
	text, err := call(record.thread, "encode", starlark.NewList(record.calls))
	if err != nil {
		return err
	}
	fmt.Println(text.(starlark.String).GoString())
	return nil
}

func (r *recorder) predeclare(known builtins) (starlark.StringDict, error) {
	names := starlark.StringDict{}
	modules := map[string]starlark.StringDict{}
	for name, value := range known.Constants {
		decoded, err := r.decode(value)
		if err != nil {
			return nil, err
		}
		names[name] = decoded
	}
	for name, answer := range known.Functions {
		builtin := starlark.NewBuiltin(name, r.recording(answer))
		module, member, isMember := strings.Cut(name, ".")
		if !isMember {
			names[name] = builtin
			continue
		}
		if modules[module] == nil {
			modules[module] = starlark.StringDict{}
		}
		modules[module][member] = builtin
	}
	for name, members := range modules {
		names[name] = starlarkstruct.FromStringDict(starlark.String(name), members)
	}
	return names, nil
}

type native = func(
	*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple,
) (starlark.Value, error)

func (r *recorder) recording(answer function) native {
	return func(
		_ *starlark.Thread, b *starlark.Builtin, positional starlark.Tuple, pairs []starlark.Tuple,
	) (starlark.Value, error) {
		named := starlark.NewDict(len(pairs))
		for _, pair := range pairs {
			if err := named.SetKey(pair[0], pair[1]); err != nil {
				return nil, err
			}
		}
		made := starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"function":  starlark.String(b.Name()),
			"arguments": positional,
			"named":     named,
		})
		r.calls = append(r.calls, made)
		if answer.Gives != nil {
			return r.decode(answer.Gives)
		}
		if answer.By == nil {
			return made, nil
		}
		return r.by(answer.By, positional)
	}
}

func (r *recorder) by(
	answers map[string]stdjson.RawMessage, positional starlark.Tuple,
) (starlark.Value, error) {
	if first, ok := starlark.AsString(positional.Index(0)); ok {
		if value, found := answers[first]; found {
			return r.decode(value)
		}
	}
	if len(positional) > 1 {
		return positional.Index(1), nil
	}
	return starlark.None, nil
}

func (r *recorder) decode(value stdjson.RawMessage) (starlark.Value, error) {
	return call(r.thread, "decode", starlark.String(value))
}

func call(thread *starlark.Thread, name string, value starlark.Value) (starlark.Value, error) {
	return starlark.Call(thread, json.Module.Members[name], starlark.Tuple{value}, nil)
}
