// Every file that the services are described in, found by its name or by any symbol in it, as the bytes that reflection
// hands out. Made once, at the first call of reflection.

import type { DescEnum, DescFile, DescMessage, DescService } from '@bufbuild/protobuf';
import { clone, toBinary } from '@bufbuild/protobuf';
import type { FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

interface IndexedFile {
  readonly bytes: Uint8Array;
  readonly dependencies: readonly string[];
}

/** A file served once more under another package, for clients that know the protocol by its older name. */
export interface Alias {
  readonly file: DescFile;
  readonly packageName: string;
}

export class DescriptorIndex {
  readonly #files = new Map<string, IndexedFile>();
  readonly #fileOfSymbol = new Map<string, string>();
  readonly #messages = new Set<string>();

  constructor(services: readonly DescService[], aliases: readonly Alias[]) {
    for (const service of services) this.#addFile(service.file);
    for (const alias of aliases) this.#addAlias(alias);
  }

  /** The file and all it depends on, itself first; null for a name that is not here. */
  fileByName(name: string): readonly Uint8Array[] | null {
    if (!this.#files.has(name)) return null;
    const bytes: Uint8Array[] = [];
    const names = new Set([name]);
    // A set iterates over what is added meanwhile.
    for (const each of names) {
      const file = this.#files.get(each);
      if (file === undefined) continue;
      bytes.push(file.bytes);
      for (const dependency of file.dependencies) names.add(dependency);
    }
    return bytes;
  }

  fileOfSymbol(symbol: string): readonly Uint8Array[] | null {
    const name = this.#fileOfSymbol.get(symbol);
    return name === undefined ? null : this.fileByName(name);
  }

  hasMessage(typeName: string): boolean {
    return this.#messages.has(typeName);
  }

  #addFile(file: DescFile): void {
    const { name } = file.proto;
    if (this.#files.has(name)) return;
    this.#files.set(name, {
      bytes: toBinary(FileDescriptorProtoSchema, file.proto),
      dependencies: file.proto.dependency,
    });
    for (const message of file.messages) this.#addMessage(message, name);
    for (const enumeration of file.enums) this.#addEnum(enumeration, name);
    for (const service of file.services) {
      this.#fileOfSymbol.set(service.typeName, name);
      for (const method of service.methods) this.#fileOfSymbol.set(`${service.typeName}.${method.name}`, name);
    }
    for (const dependency of file.dependencies) this.#addFile(dependency);
  }

  #addMessage(message: DescMessage, file: string): void {
    this.#messages.add(message.typeName);
    this.#fileOfSymbol.set(message.typeName, file);
    for (const field of message.fields) this.#fileOfSymbol.set(`${message.typeName}.${field.name}`, file);
    for (const oneof of message.oneofs) this.#fileOfSymbol.set(`${message.typeName}.${oneof.name}`, file);
    for (const nested of message.nestedMessages) this.#addMessage(nested, file);
    // Entries of maps are messages too, known to the file's description alone.
    for (const nested of message.proto.nestedType) this.#fileOfSymbol.set(`${message.typeName}.${nested.name}`, file);
    for (const nested of message.nestedEnums) this.#addEnum(nested, file);
  }

  #addEnum(enumeration: DescEnum, file: string): void {
    this.#fileOfSymbol.set(enumeration.typeName, file);
    // A value's full name stands beside its enum, not within it.
    const scope = enumeration.typeName.slice(0, enumeration.typeName.lastIndexOf('.'));
    for (const value of enumeration.values) this.#fileOfSymbol.set(`${scope}.${value.name}`, file);
  }

  #addAlias({ file, packageName }: Alias): void {
    const renamed = renamePackage(file.proto, packageName);
    const oldScope = `${file.proto.package}.`;
    this.#files.set(renamed.name, {
      bytes: toBinary(FileDescriptorProtoSchema, renamed),
      dependencies: renamed.dependency,
    });
    // Entries added on the way are visited too, and belong to another file.
    for (const [symbol, name] of this.#fileOfSymbol) {
      if (name === file.proto.name) {
        this.#fileOfSymbol.set(`${packageName}.${symbol.slice(oldScope.length)}`, renamed.name);
      }
    }
    for (const typeName of this.#messages) {
      if (typeName.startsWith(oldScope)) this.#messages.add(`${packageName}.${typeName.slice(oldScope.length)}`);
    }
  }
}

/** Relies on the file's types referring to nothing outside of it but by other packages' names. */
const renamePackage = (file: FileDescriptorProto, packageName: string): FileDescriptorProto => {
  const renamed = clone(FileDescriptorProtoSchema, file);
  const oldScope = `.${file.package}.`;
  const moved = (typeName: string): string =>
    typeName.startsWith(oldScope) ? `.${packageName}.${typeName.slice(oldScope.length)}` : typeName;
  renamed.name = file.name.replace(file.package.replaceAll('.', '/'), packageName.replaceAll('.', '/'));
  renamed.package = packageName;
  for (const message of renamed.messageType) for (const field of message.field) field.typeName = moved(field.typeName);
  for (const service of renamed.service) {
    for (const method of service.method) {
      method.inputType = moved(method.inputType);
      method.outputType = moved(method.outputType);
    }
  }
  return renamed;
};
