// Kstatus says of objects what Flux and everything else built on kstatus makes of them.
//
// Usage: kstatus <objects.json, where the objects are a JSON array. It prints an array of
// {"status", "message"}.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run() error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var documents []json.RawMessage
	if err := json.Unmarshal(input, &documents); err != nil {
		return err
	}
	found := make([]verdict, 0, len(documents))
	for _, document := range documents {
		// Numbers become what a client of the API server makes of them: int64 where they can.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(document); err != nil {
			return err
		}
		result, err := status.Compute(object)
		if err != nil {
			return err
		}
		found = append(found, verdict{result.Status.String(), result.Message})
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}
