package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
	probetest "k8s.io/kubernetes/pkg/kubelet/prober/testing"
)

// runtimeService gives each pod an address of its own and ends the containers that should end: the
// fake runtime under it knows one address and runs every container for ever.
type runtimeService struct {
	cri.RuntimeService
	pods corev1.PodsGetter
}

func (s *runtimeService) PodSandboxStatus(
	ctx context.Context, id string, verbose bool,
) (*runtimeapi.PodSandboxStatusResponse, error) {
	answer, err := s.RuntimeService.PodSandboxStatus(ctx, id, verbose)
	if err == nil && answer.GetStatus().GetNetwork() != nil {
		sum := fnv.New32a()
		sum.Write([]byte(id))
		bits := sum.Sum32()
		answer.Status.Network.Ip = fmt.Sprintf(
			"10.%d.%d.%d", 64+bits>>16%64, bits>>8%256, 1+bits%254)
	}
	return answer, err
}

func (s *runtimeService) StartContainer(ctx context.Context, id string) error {
	if err := s.RuntimeService.StartContainer(ctx, id); err != nil {
		return err
	}
	found, err := s.RuntimeService.ContainerStatus(ctx, id, false)
	if err != nil {
		return err
	}
	labels := found.GetStatus().GetLabels()
	pod, err := s.pods.Pods(labels[kubelettypes.KubernetesPodNamespaceLabel]).Get(
		ctx, labels[kubelettypes.KubernetesPodNameLabel], metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !ends(pod, labels[kubelettypes.KubernetesContainerNameLabel]) {
		return nil
	}
	return s.RuntimeService.StopContainer(ctx, id, 0)
}

// ends tells whether a container runs to its end: it initializes its pod, or the pod is a job's.
func ends(pod *v1.Pod, name string) bool {
	for _, container := range pod.Spec.InitContainers {
		if container.Name == name {
			return container.RestartPolicy == nil
		}
	}
	return pod.Spec.RestartPolicy != v1.RestartPolicyAlways
}

// probes answers for the pods' readiness probes: they pass unless the folder has a file that is
// named after the pod.
type probes struct {
	probetest.FakeManager
	folder string
}

func (p probes) UpdatePodStatus(pod *v1.Pod, status *v1.PodStatus) {
	_, err := os.Stat(filepath.Join(p.folder, pod.Namespace+"."+pod.Name))
	passes := os.IsNotExist(err)
	probed := map[string]bool{}
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		probed[container.Name] = container.ReadinessProbe != nil
	}
	for _, statuses := range [][]v1.ContainerStatus{
		status.InitContainerStatuses, status.ContainerStatuses,
	} {
		for i := range statuses {
			one := &statuses[i]
			runs := one.State.Running != nil
			ended := one.State.Terminated
			one.Started = &runs
			one.Ready = runs && (passes || !probed[one.Name])
			if ended != nil && ended.ExitCode == 0 && !regular(pod, one.Name) {
				one.Ready = true
			}
		}
	}
}

func regular(pod *v1.Pod, name string) bool {
	for _, container := range pod.Spec.Containers {
		if container.Name == name {
			return true
		}
	}
	return false
}
