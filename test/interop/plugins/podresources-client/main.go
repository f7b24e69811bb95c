// Command podresources-client asks a node's PodResources socket everything there is to ask, as monitoring agents do, and
// prints the answers as one JSON object.
//
//	podresources-client SOCKET POD NAMESPACE
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubelet/pkg/apis/podresources/v1alpha1"
)

// The limit agents commonly raise theirs to.
const maxMessageBytes = 16 * 1024 * 1024

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: podresources-client SOCKET POD NAMESPACE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(socket, pod, namespace string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	connection, err := grpc.NewClient("unix://"+socket, options()...)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := v1.NewPodResourcesListerClient(connection)

	answers := map[string]json.RawMessage{}
	list, err := client.List(ctx, &v1.ListPodResourcesRequest{})
	if err := keep(answers, "list", list, err); err != nil {
		return err
	}
	one, err := client.Get(ctx, &v1.GetPodResourcesRequest{PodName: pod, PodNamespace: namespace})
	if err := keep(answers, "get", one, err); err != nil {
		return err
	}
	allocatable, err := client.GetAllocatableResources(ctx, &v1.AllocatableResourcesRequest{})
	if err := keep(answers, "allocatable", allocatable, err); err != nil {
		return err
	}

	// Older agents dial the path itself with a dialer of their own; their authority looks different.
	older, err := grpc.NewClient("passthrough:///"+socket, append(options(),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))...)
	if err != nil {
		return err
	}
	defer older.Close()
	alpha, err := v1alpha1.NewPodResourcesListerClient(older).List(ctx, &v1alpha1.ListPodResourcesRequest{})
	if err := keep(answers, "alpha", alpha, err); err != nil {
		return err
	}

	_, err = client.Get(ctx, &v1.GetPodResourcesRequest{PodName: "no-such-pod", PodNamespace: namespace})
	if err := keepText(answers, "unknownPod", err); err != nil {
		return err
	}

	const calls = 500
	outcomes := make(chan error, calls)
	for range calls {
		go func() {
			_, err := client.List(ctx, &v1.ListPodResourcesRequest{})
			outcomes <- err
		}()
	}
	var refused error
	for range calls {
		if err := <-outcomes; err != nil {
			refused = err
		}
	}
	if err := keepText(answers, "loop", refused); err != nil {
		return err
	}
	time.Sleep(time.Second)
	_, err = client.List(ctx, &v1.ListPodResourcesRequest{})
	if err := keepText(answers, "afterLoop", err); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
	}
}

func keep(answers map[string]json.RawMessage, name string, message proto.Message, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(message)
	answers[name] = text
	return err
}

func keepText(answers map[string]json.RawMessage, name string, err error) error {
	text, err := json.Marshal(map[string]string{
		"code":    status.Code(err).String(),
		"message": status.Convert(err).Message(),
	})
	answers[name] = text
	return err
}
