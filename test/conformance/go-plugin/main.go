// A good device plugin in Go: it outlives managers, looks up what it is asked for, and ends in good order.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	resource  = "example.com/gopher"
	socket    = "gopher.sock"
	lookEvery = 200 * time.Millisecond
)

var (
	ids        = []string{"gopher-0", "gopher-1", "gopher-2"}
	ownPath    = filepath.Join(api.DevicePluginPath, socket)
	managePath = filepath.Join(api.DevicePluginPath, "kubelet.sock")
	options    = &api.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true}
)

type plugin struct {
	api.UnimplementedDevicePluginServer
}

func (plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return options, nil
}

func (plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	list := &api.ListAndWatchResponse{}
	for _, id := range ids {
		list.Devices = append(list.Devices, &api.Device{ID: id, Health: api.Healthy})
	}
	if err := stream.Send(list); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (plugin) GetPreferredAllocation(_ context.Context, request *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	response := &api.PreferredAllocationResponse{}
	for _, container := range request.ContainerRequests {
		chosen := slices.Clone(container.MustIncludeDeviceIDs)
		for _, id := range container.AvailableDeviceIDs {
			if len(chosen) < int(container.AllocationSize) && !slices.Contains(chosen, id) {
				chosen = append(chosen, id)
			}
		}
		response.ContainerResponses = append(response.ContainerResponses, &api.ContainerPreferredAllocationResponse{DeviceIDs: chosen})
	}
	return response, nil
}

func (plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	response := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		if err := known(container.DevicesIds); err != nil {
			return nil, err
		}
		answer := &api.ContainerAllocateResponse{Envs: map[string]string{"GOPHERS": strings.Join(container.DevicesIds, ",")}}
		for _, id := range container.DevicesIds {
			answer.Devices = append(answer.Devices, &api.DeviceSpec{HostPath: "/dev/null", ContainerPath: "/dev/" + id, Permissions: "rw"})
		}
		response.ContainerResponses = append(response.ContainerResponses, answer)
	}
	return response, nil
}

func (plugin) PreStartContainer(_ context.Context, request *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	return &api.PreStartContainerResponse{}, known(request.DevicesIds)
}

func known(asked []string) error {
	for _, id := range asked {
		if !slices.Contains(ids, id) {
			return status.Errorf(codes.NotFound, "no device %s", id)
		}
	}
	return nil
}

// identity tells a socket from the next at the same path; empty when there is none.
func identity(path string) string {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return ""
	}
	return fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino, info.ModTime().UnixNano())
}

func serve() (*grpc.Server, string, error) {
	if err := os.Remove(ownPath); err != nil && !os.IsNotExist(err) {
		return nil, "", err
	}
	listener, err := net.Listen("unix", ownPath)
	if err != nil {
		return nil, "", err
	}
	// Somebody else's socket may lie at the path by then.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	own := identity(ownPath)
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, plugin{})
	go server.Serve(listener)
	return server, own, nil
}

func register(ctx context.Context) error {
	connection, err := grpc.NewClient("unix://"+managePath, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = api.NewRegistrationClient(connection).Register(ctx, &api.RegisterRequest{
		Version: api.Version, Endpoint: socket, ResourceName: resource, Options: options,
	})
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var server *grpc.Server
	var own, acceptedBy string
	var notBefore time.Time
	for ctx.Err() == nil {
		if server == nil || own == "" || identity(ownPath) != own {
			if server != nil {
				server.Stop()
			}
			var err error
			if server, own, err = serve(); err != nil {
				log.Print(err) // the directory may be away for a moment
			}
			acceptedBy = ""
		}
		if manager := identity(managePath); server != nil && manager != "" && manager != acceptedBy && time.Now().After(notBefore) {
			if err := register(ctx); err == nil {
				acceptedBy = manager
				log.Print("registered")
			} else {
				notBefore = time.Now().Add(time.Second)
				log.Print(err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	if server == nil {
		return
	}
	server.Stop()
	if identity(ownPath) == own {
		os.Remove(ownPath)
	}
}
