{{/* Prefix of every name. Cut at 32: KServe adds `isvc.` and `-serving-predictor`, a CronJob may have 52 in all. */}}
{{- define "graildient.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 32 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 32 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 32 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selectors may name: it never changes during the life of a release.
     Takes (dict "root" $ "component" "serving"). */}}
{{- define "graildient.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object. Takes (dict "root" $ "component" "serving"). */}}
{{- define "graildient.labels" -}}
{{ include "graildient.selectorLabels" . }}
app.kubernetes.io/part-of: graildient
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "graildient.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "graildient.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Full address of one of our images. Takes (dict "root" $ "image" "server"). */}}
{{- define "graildient.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $name := print .root.Values.images.prefix $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "graildient.usesVolume" -}}
{{- if not .Values.storage.root }}true{{ end -}}
{{- end -}}

{{- define "graildient.claimName" -}}
{{- default (printf "%s-data" (include "graildient.fullname" .)) .Values.storage.volume.existingClaim -}}
{{- end -}}

{{- define "graildient.redisHost" -}}
{{- printf "%s-redis" (include "graildient.fullname" .) -}}
{{- end -}}

{{- define "graildient.marketplaceUrl" -}}
{{- printf "http://%s-marketplace:8000" (include "graildient.fullname" .) -}}
{{- end -}}

{{/* Makes pods start again when the settings change. */}}
{{- define "graildient.checksums" -}}
checksum/config: {{ include (print .Template.BasePath "/common/configmap.yaml") . | sha256sum }}
{{- end -}}

{{/* Fields of a pod that all pods of ours share (Pod Security `restricted`), without its containers. */}}
{{- define "graildient.podCommon" -}}
serviceAccountName: {{ include "graildient.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.security.runAsUser }}
  runAsGroup: {{ .Values.security.runAsGroup }}
  fsGroup: {{ .Values.security.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "graildient.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Image, settings and secrets of a container of ours.
     Takes (dict "root" $ "image" "server"). */}}
{{- define "graildient.containerCommon" -}}
image: {{ include "graildient.image" . | quote }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  {{- include "graildient.containerSecurity" .root | nindent 2 }}
envFrom:
  - configMapRef:
      name: {{ include "graildient.fullname" .root }}
{{- end -}}

{{/* Variables that come from Secrets, and the user's own, as a list; empty when there are none.
     Takes (dict "root" $), and if wanted "scraper" true and "env" (dict). */}}
{{- define "graildient.env" -}}
{{- $values := .root.Values -}}
{{- if eq $values.redis.mode "external" }}
- name: GRAILDIENT_FEATURES_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $values.redis.external.existingSecret }}
      key: {{ $values.redis.external.key }}
{{- end }}
{{- if and $values.storage.root $values.storage.s3.existingSecret }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef:
      name: {{ $values.storage.s3.existingSecret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- if and .scraper $values.scraperSecret }}
{{- range $key := list "search-key" "seller-salt" }}
- name: GRAILDIENT_SCRAPER_{{ $key | replace "-" "_" | upper }}
  valueFrom:
    secretKeyRef:
      name: {{ $values.scraperSecret }}
      key: {{ $key }}
      optional: true
{{- end }}
{{- end }}
{{- range $name, $value := .env }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "graildient.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "graildient.usesVolume" . }}
- name: data
  mountPath: /data
{{- end }}
{{- end -}}

{{- define "graildient.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmpSize }}
{{- if include "graildient.usesVolume" . }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "graildient.claimName" . }}
{{- end }}
{{- end -}}

{{/* One container of a CronJob or Deployment.
     Takes (dict "root" $ "name" "scrape" "image" "scraper" "command" (list …) "resources" …), and if wanted
     "scraper" true (the scrapers' secret), "env" (dict) and "mounts" (list). */}}
{{- define "graildient.container" -}}
name: {{ .name }}
{{ include "graildient.containerCommon" . }}
command: {{ toJson .command }}
{{- with include "graildient.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  {{- include "graildient.volumeMounts" .root | nindent 2 }}
  {{- with .mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Fields that all CronJobs share. Takes the component's values and the root: (dict "root" $ "job" $values). */}}
{{- define "graildient.cronJobCommon" -}}
schedule: {{ .job.schedule | quote }}
timeZone: Etc/UTC
suspend: {{ .job.suspend }}
concurrencyPolicy: Forbid
startingDeadlineSeconds: 3600
successfulJobsHistoryLimit: 2
failedJobsHistoryLimit: 3
{{- end -}}

{{/* Copies the image's code into a volume, which the container then mounts in its place. */}}
{{- define "graildient.liveCode" -}}
- name: code
  image: {{ include "graildient.image" (dict "root" . "image" "server") | quote }}
  imagePullPolicy: {{ .Values.images.pullPolicy }}
  securityContext:
    {{- include "graildient.containerSecurity" . | nindent 4 }}
  command: ["cp", "-r", "/app/.", "/code"]
  resources:
    requests: {cpu: 50m, memory: 32Mi}
    limits: {memory: 128Mi}
  volumeMounts:
    - name: code
      mountPath: /code
{{- end -}}

{{- define "graildient.liveCodeVolume" -}}
- name: code
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}
