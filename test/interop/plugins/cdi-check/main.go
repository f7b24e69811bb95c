// Reads CDI spec files as container runtimes do, with their library: cdi-check DIR. One JSON object on stdout: devices,
// the version of each file, and what is wrong with which file.
package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"tags.cncf.io/container-device-interface/pkg/cdi"
)

func main() {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(os.Args[1]), cdi.WithAutoRefresh(false))
	if err != nil {
		panic(err)
	}
	_ = cache.Refresh()
	versions, errors := map[string]string{}, map[string][]string{}
	for _, vendor := range cache.ListVendors() {
		for _, spec := range cache.GetVendorSpecs(vendor) {
			versions[filepath.Base(spec.GetPath())] = spec.Version
		}
	}
	for path, found := range cache.GetErrors() {
		for _, e := range found {
			errors[filepath.Base(path)] = append(errors[filepath.Base(path)], e.Error())
		}
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"devices": cache.ListDevices(), "versions": versions, "errors": errors})
}
