package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace/noop"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	remote "k8s.io/cri-client/pkg"
	fakeremote "k8s.io/cri-client/pkg/fake"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubemark"
	utilflag "k8s.io/kubernetes/pkg/util/flag"
)

type hollowNode struct {
	kubeconfig string
	name       string
	labels     map[string]string
	taints     []v1.Taint
	resources  map[string]string
	folder     string
	unready    string
}

// newHollowNodeCommand makes kubemark's hollow kubelet, for a node of any size, whose init
// containers and jobs end at once and whose pods are ready unless a file says otherwise.
func newHollowNodeCommand() *cobra.Command {
	node := &hollowNode{labels: map[string]string{}, resources: map[string]string{}}
	command := &cobra.Command{
		Use:          "hollow-node",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(command *cobra.Command, _ []string) error { return node.run(command.Context()) },
	}
	labels := cliflag.ConfigurationMap(node.labels)
	resources := cliflag.ConfigurationMap(node.resources)
	flags := command.Flags()
	flags.StringVar(&node.kubeconfig, "kubeconfig", "", "how the API server is reached")
	flags.StringVar(&node.name, "name", "", "the node's name")
	flags.Var(&labels, "labels", "KEY=VALUE,…")
	flags.Var(utilflag.RegisterWithTaintsVar{Value: &node.taints}, "taints", "KEY=VALUE:EFFECT,…")
	flags.Var(&resources, "resources", "NAME=QUANTITY,… that pods may ask for")
	flags.StringVar(&node.folder, "folder", "", "where the kubelet keeps its files")
	flags.StringVar(&node.unready, "unready", "", "folder with a file NAMESPACE.POD for each pod "+
		"whose readiness probes fail")
	for _, needed := range []string{"kubeconfig", "name", "folder", "unready"} {
		if err := command.MarkFlagRequired(needed); err != nil {
			panic(err)
		}
	}
	return command
}

func (n *hollowNode) run(ctx context.Context) error {
	resources := v1.ResourceList{}
	for name, text := range n.resources {
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return fmt.Errorf("--resources %s=%s: %w", name, text, err)
		}
		resources[v1.ResourceName(name)] = quantity
	}
	connection, err := clientcmd.BuildConfigFromFlags("", n.kubeconfig)
	if err != nil {
		return err
	}
	connection.QPS, connection.Burst = 100, 200
	client, err := clientset.NewForConfig(connection)
	if err != nil {
		return err
	}

	endpoint, err := fakeremote.GenerateEndpoint()
	if err != nil {
		return err
	}
	containers := fakeremote.NewFakeRemoteRuntime()
	if err := containers.Start(endpoint); err != nil {
		return err
	}
	defer containers.Stop()
	logger := klog.Background()
	service, err := remote.NewRemoteRuntimeService(
		endpoint, 15*time.Second, noop.NewTracerProvider(), &logger)
	if err != nil {
		return err
	}

	flags, configuration := kubemark.GetHollowKubeletConfig(&kubemark.HollowKubeletOptions{
		NodeName:           n.name,
		MaxPods:            110,
		NodeLabels:         n.labels,
		RegisterWithTaints: n.taints,
	})
	if err := n.keepFiles(flags, configuration); err != nil {
		return err
	}
	// It listens to nobody and leaves this machine's network alone.
	configuration.EnableServer = false
	configuration.MakeIPTablesUtilChains = false
	// A lost node is noticed, and a changed readiness seen, in seconds.
	configuration.NodeLeaseDurationSeconds = 4
	configuration.NodeStatusUpdateFrequency.Duration = time.Second
	configuration.SyncFrequency.Duration = time.Second

	kubelet := kubemark.NewHollowKubelet(
		flags, configuration, client, client,
		&cadvisortest.Fake{NodeName: n.name},
		containers.ImageService,
		&runtimeService{RuntimeService: service, pods: client.CoreV1()},
		// What it reports as a device's goes before the machine's own cores and memory.
		cm.NewStubContainerManagerWithDevicePluginResource(resources),
	)
	kubelet.KubeletDeps.ProbeManager = probes{folder: n.unready}
	kubelet.Run(ctx)
	return nil
}

// keepFiles moves the kubelet's files from the folder in /tmp that kubemark has made for them.
func (n *hollowNode) keepFiles(
	flags *options.KubeletFlags, configuration *kubeletconfig.KubeletConfiguration,
) error {
	if err := os.RemoveAll(flags.RootDirectory); err != nil {
		return err
	}
	flags.RootDirectory = n.folder
	configuration.StaticPodPath = filepath.Join(n.folder, "static-pods")
	configuration.PodLogsDir = filepath.Join(n.folder, "logs")
	for _, folder := range []string{configuration.StaticPodPath, configuration.PodLogsDir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	return nil
}
