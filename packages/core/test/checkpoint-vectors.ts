/** Checksums measured against a Go kubelet's own code. */
export const CHECKPOINT_VECTORS = [
  { name: 'A', data: '{"PodDeviceEntries":null,"RegisteredDevices":{}}', checksum: 3467439661 },
  { name: 'A2', data: '{"PodDeviceEntries":null,"RegisteredDevices":null}', checksum: 1944006890 },
  {
    name: 'B',
    data: '{"PodDeviceEntries":null,"RegisteredDevices":{"a.b/c":[],"example.com/resource":["Dev-1","Dev-2"]}}',
    checksum: 1210043745,
  },
  {
    name: 'C',
    data: '{"PodDeviceEntries":[{"PodUID":"11111111-2222-3333-4444-555555555555","ContainerName":"ctr","ResourceName":"example.com/resource","DeviceIDs":{"-1":["Dev-1"]},"AllocResp":"CgkKA0ZPTxICMTI="}],"RegisteredDevices":{"example.com/resource":["Dev-1","Dev-2"]}}',
    checksum: 292927789,
    dump: '(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)[{PodUID:(string)11111111-2222-3333-4444-555555555555 ContainerName:(string)ctr ResourceName:(string)example.com/resource DeviceIDs:(checkpoint.DevicesPerNUMA)map[-1:[Dev-1]] AllocResp:([]uint8)[10 9 10 3 70 79 79 18 2 49 50]}] RegisteredDevices:(map[string][]string)map[example.com/resource:[Dev-1 Dev-2]]}',
  },
  {
    name: 'D',
    data: '{"PodDeviceEntries":[{"PodUID":"pod1","ContainerName":"con1","ResourceName":"d/r","DeviceIDs":{"-1":["n"],"0":["x"],"10":["z"],"2":["b","a"]},"AllocResp":""},{"PodUID":"pod1","ContainerName":"con2","ResourceName":"d/r","DeviceIDs":null,"AllocResp":null}],"RegisteredDevices":{"a/a":null,"z/z":["<&>é"]}}',
    checksum: 3307157434,
    dump: '(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)[{PodUID:(string)pod1 ContainerName:(string)con1 ResourceName:(string)d/r DeviceIDs:(checkpoint.DevicesPerNUMA)map[-1:[n] 0:[x] 2:[b a] 10:[z]] AllocResp:([]uint8)[]} {PodUID:(string)pod1 ContainerName:(string)con2 ResourceName:(string)d/r DeviceIDs:(checkpoint.DevicesPerNUMA)<nil> AllocResp:([]uint8)<nil>}] RegisteredDevices:(map[string][]string)map[a/a:<nil> z/z:[<&>é]]}',
  },
] as const;
