package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubernetes/pkg/kubelet/apis/podresources"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
)

// podResourcesProvider gives the kubelet's PodResources server what its container manager would: pods and devices are
// the oracle's, CPUs, memory and claims there are none.
type podResourcesProvider struct{ o *oracle }

func (p podResourcesProvider) GetActivePods() []*v1.Pod { return p.o.activePods() }
func (p podResourcesProvider) GetPods() []*v1.Pod       { return p.o.activePods() }
func (p podResourcesProvider) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	for _, pod := range p.o.activePods() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod, true
		}
	}
	return nil, false
}

func (p podResourcesProvider) UpdateAllocatedDevices(logger klog.Logger) {
	p.o.dm.UpdateAllocatedDevices(logger)
}
func (p podResourcesProvider) GetDevices(podUID, containerName string) []*podresourcesv1.ContainerDevices {
	return containerDevices(p.o.dm.GetDevices(podUID, containerName))
}
func (p podResourcesProvider) GetAllocatableDevices(logger klog.Logger) []*podresourcesv1.ContainerDevices {
	return containerDevices(p.o.dm.GetAllocatableDevices(logger))
}

func (podResourcesProvider) GetCPUs(*v1.Pod, *v1.Container) []int64 { return nil }
func (podResourcesProvider) GetPodCPUs(string) []int64              { return nil }
func (podResourcesProvider) GetAllocatableCPUs() []int64            { return nil }
func (podResourcesProvider) GetMemory(klog.Logger, *v1.Pod, *v1.Container) []*podresourcesv1.ContainerMemory {
	return nil
}
func (podResourcesProvider) GetPodMemory(klog.Logger, string) []*podresourcesv1.ContainerMemory {
	return nil
}
func (podResourcesProvider) GetAllocatableMemory(klog.Logger) []*podresourcesv1.ContainerMemory {
	return nil
}
func (podResourcesProvider) GetDynamicResources(klog.Logger, *v1.Pod, *v1.Container) []*podresourcesv1.DynamicResource {
	return nil
}

func containerDevices(instances devicemanager.ResourceDeviceInstances) []*podresourcesv1.ContainerDevices {
	var out []*podresourcesv1.ContainerDevices
	for resource, devices := range instances {
		for id := range devices {
			out = append(out, &podresourcesv1.ContainerDevices{ResourceName: resource, DeviceIds: []string{id}})
		}
	}
	return out
}

// servePodResources serves the kubelet's PodResources API on a socket, until the process ends.
func (o *oracle) servePodResources(socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	provider := podResourcesProvider{o}
	server := grpc.NewServer()
	podresourcesv1.RegisterPodResourcesListerServer(server, podresources.NewV1PodResourcesServer(klog.NewContext(context.Background(), o.logger), podresources.PodResourcesProviders{
		Pods: provider, Devices: provider, Cpus: provider, Memory: provider, DynamicResources: provider,
	}))
	go server.Serve(listener)
	return nil
}
